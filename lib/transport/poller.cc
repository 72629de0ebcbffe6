// See poller.h.
#include "transport/poller.h"

#include <sys/epoll.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace mqttq {

Poller::Poller(void* user, OnReady on_ready)
    : user_(user), on_ready_(on_ready), epoll_(::epoll_create1(EPOLL_CLOEXEC)) {
  if (epoll_ < 0) throw std::system_error(errno, std::generic_category(), "epoll");
}

Poller::~Poller() { ::close(epoll_); }

bool Poller::change(int descriptor, void* item, uint8_t now, uint8_t wanted) noexcept {
  if (now == wanted) return true;
  epoll_event event{};
  event.data.ptr = item;
  event.events = (wanted & kReadable ? uint32_t{EPOLLIN} : 0) | (wanted & kWritable ? uint32_t{EPOLLOUT} : 0);
  if (!wanted) {  // else a peer that is gone would be told of again and again
    forget(item);
    return ::epoll_ctl(epoll_, EPOLL_CTL_DEL, descriptor, &event) == 0;
  }
  return ::epoll_ctl(epoll_, now ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, descriptor, &event) == 0;
}

void Poller::forget(const void* item) noexcept {
  for (int i = ready_next_; i < ready_count_; ++i) {
    if (ready_[i].item == item) ready_[i].events = 0;
  }
}

void Poller::wait(int timeout_ms) noexcept {
  epoll_event events[kEventsMax];
  ready_count_ = ::epoll_wait(epoll_, events, kEventsMax, timeout_ms);
  for (int i = 0; i < ready_count_; ++i) {
    const uint32_t told = events[i].events;
    ready_[i].item = events[i].data.ptr;
    ready_[i].events = static_cast<uint8_t>((told & EPOLLIN ? kReadable : 0) | (told & EPOLLOUT ? kWritable : 0) |
                                            (told & (EPOLLERR | EPOLLHUP) ? kFailed : 0));
  }
  for (ready_next_ = 0; ready_next_ < ready_count_;) {
    const Ready next = ready_[ready_next_++];
    if (next.events) on_ready_(user_, next.item, next.events);
  }
  ready_count_ = 0;
}

}  // namespace mqttq
