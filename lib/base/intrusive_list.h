// A doubly linked list through its items: putting in and taking out never allocates and never fails.
#pragma once

#include <cstdint>

namespace mqttq {

// An item derives from ListLink<Tag>, once for each list it can stand in.
template <class Tag>
struct ListLink {
  ListLink* next = nullptr;
  ListLink* previous = nullptr;
  bool linked() const noexcept { return next != nullptr; }
  void unlink() noexcept {
    if (!next) return;
    next->previous = previous;
    previous->next = next;
    next = previous = nullptr;
  }
};

// Items are borrowed: whoever ends an item unlinks it before.
template <class T, class Tag>
class IntrusiveList {
 public:
  IntrusiveList() noexcept { head_.next = head_.previous = &head_; }
  IntrusiveList(const IntrusiveList&) = delete;
  IntrusiveList& operator=(const IntrusiveList&) = delete;

  bool empty() const noexcept { return head_.next == &head_; }
  T* front() noexcept { return empty() ? nullptr : item(head_.next); }
  T* back() noexcept { return empty() ? nullptr : item(head_.previous); }
  // nullptr behind the last.
  T* next(T& of) noexcept {
    auto* link = static_cast<ListLink<Tag>&>(of).next;
    return link == &head_ ? nullptr : item(link);
  }
  void push_back(T& added) noexcept { insert_before(head_, added); }
  T* pop_front() noexcept {
    T* first = front();
    if (first) static_cast<ListLink<Tag>*>(first)->unlink();
    return first;
  }
  // Takes all items of `other`, behind our own, in constant time.
  void splice_back(IntrusiveList& other) noexcept {
    if (other.empty()) return;
    auto *first = other.head_.next, *last = other.head_.previous;
    first->previous = head_.previous;
    head_.previous->next = first;
    last->next = &head_;
    head_.previous = last;
    other.head_.next = other.head_.previous = &other.head_;
  }

 private:
  static T* item(ListLink<Tag>* link) noexcept { return static_cast<T*>(link); }
  static void insert_before(ListLink<Tag>& place, T& added) noexcept {
    auto& link = static_cast<ListLink<Tag>&>(added);
    link.next = &place;
    link.previous = place.previous;
    place.previous->next = &link;
    place.previous = &link;
  }

  ListLink<Tag> head_;
};

}  // namespace mqttq
