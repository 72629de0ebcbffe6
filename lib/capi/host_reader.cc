#include "capi/host_reader.h"

namespace mqttq::capi {

Status HostReader::open(ShardCore& core, NamespaceId namespace_id, std::string_view name, std::string_view topic_filter,
                        const StreamTerms& terms, Instant now) {
  core_ = &core;
  stream_ = core.streams().find(namespace_id, name);
  if (!stream_) return Status::NotFound;
  if (!topic_filter.empty() && !filter_covers(stream_->topic_filter(), topic_filter)) return Status::Invalid;
  StreamPlace place = Streams::resolve(*stream_, terms.offset, now);
  if (!terms.cursor.empty()) {
    cursor_ = terms.cursor;
    StreamCursor* cursor = nullptr;
    const Status status = core.cursors().open(*stream_, cursor_, false, terms.offset, false, now, cursor);
    if (status != Status::Ok) return status;
    place = {};
    place.position = cursor->committed();
  }
  reader_ = core.streams().join(*stream_, *this, topic_filter);
  if (!reader_) return Status::NoMemory;
  go_on(place);
  return Status::Ok;
}

Status HostReader::commit(uint64_t position) {
  StreamCursor* cursor = reader_ ? core_->cursors().find(*stream_, cursor_) : nullptr;
  if (!cursor) return Status::NotFound;
  if (position > stream_->index.end()) return Status::Invalid;
  core_->cursors().commit(*cursor, position);
  return Status::Ok;
}

void HostReader::go_on(const StreamPlace& place) {
  place_ = place;
  MemberState state;
  state.connected = true;
  core_->streams().set_state(reader_, state, place_);
}

void HostReader::close() noexcept {
  if (const MemberId reader = std::exchange(reader_, 0)) core_->streams().leave(reader);
}

bool HostReader::seek(const StreamOffset& offset, Instant now) {
  if (!reader_) return false;
  {
    const std::lock_guard lock(mutex_);
    items_.clear();
    full_ = false;
  }
  go_on(Streams::resolve(*stream_, offset, now));
  return true;
}

void HostReader::resume() {
  if (reader_) go_on(place_);
}

bool HostReader::take(size_t count, std::chrono::milliseconds timeout, std::vector<Item>& out, bool& resumes) {
  out.reserve(std::min(count, ahead_));
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, timeout, [this] { return ended_ || !items_.empty(); });
  if (items_.empty() && ended_) return false;
  for (; count && !items_.empty(); --count) {
    out.push_back(std::move(items_.front()));
    items_.pop_front();
  }
  resumes = full_ && items_.size() <= ahead_ / 2;
  if (resumes) full_ = false;
  return true;
}

Handed HostReader::take(MovingMessage& message, const StreamAt& at, Instant) noexcept try {
  const std::lock_guard lock(mutex_);
  MessageRef kept = items_.size() < ahead_ ? message.share() : MessageRef();
  if (!kept) {
    full_ = true;
    return Handed::Full;
  }
  items_.push_back({std::move(kept), at});
  place_.position = at.position + 1;
  place_.number = at.number + 1;
  changed_.notify_one();
  return Handed::Finished;
} catch (const std::bad_alloc&) {
  full_ = true;  // the lock was left, and only the host's taking clears it
  return Handed::Full;
}

void HostReader::on_stream_deleted(Instant) noexcept {
  reader_ = 0;
  const std::lock_guard lock(mutex_);
  ended_ = true;
  changed_.notify_one();
}

}  // namespace mqttq::capi
