// Queues: which there are on a shard, who consumes them, how they come back.
#include <algorithm>

#include "base/hash.h"
#include "queue/queue.h"

namespace mqttq {

Queues::~Queues() { abandon(); }

void Queues::abandon() noexcept {
  queues_.for_each([this](Queue& queue) { end(queue); });
}

uint64_t Queues::key(NamespaceId namespace_id, std::string_view name) const noexcept {
  return hash_text(name, hash_mix(seed_, namespace_id));
}

Queue* Queues::find(NamespaceId namespace_id, std::string_view name) noexcept {
  return queues_.find(key(namespace_id, name),
                      [&](const Queue& one) { return one.namespace_id == namespace_id && one.name.view() == name; });
}

// --- declared and ended

// It stands in no journal yet. nullptr without memory.
Queue* Queues::make(const QueueIdentity& identity, const QueueOptions& options,
                    std::string_view dead_letter_topic) noexcept {
  Queue* made = slab_.take(*this, identity.namespace_id);
  if (!made) return nullptr;
  made->id = identity.id;
  made->options = options;
  if (made->name.set(identity.name) && made->dead_letter_topic.set(dead_letter_topic) && set_key(*made, identity)) {
    made->filter =
        fan_out_.add_queue(*made, identity.namespace_id, queue_journal(identity, seed_), identity.topic_filter);
  }
  if (!made->filter) {
    slab_.give_back(*made);
    return nullptr;
  }
  made->reader.queue = made;
  set_gate(*made);
  if (!set_judge(*made)) {
    fan_out_.remove_queue(*made->filter);
    slab_.give_back(*made);
    return nullptr;
  }
  queues_.insert(*made, key(identity.namespace_id, identity.name));
  fan_out_.open_queue(*made->filter);  // its gate says by now what may enter
  return made;
}

// Of one whose messages have keys. False without memory: the expression was judged before.
bool Queues::set_key(Queue& queue, const QueueIdentity& identity) noexcept {
  if (identity.key.empty()) return true;
  queue.values = create<QueueValues>();
  if (!queue.values || MessageKey::parse(identity.key, queue.values->key) != Status::Ok) return false;
  queue.values->keyless = identity.keyless;
  queue.values->last_only = identity.last_value;
  return true;
}

// A message without its key is known where it gets its number: its publisher may be told.
bool Queues::set_judge(Queue& queue) noexcept {
  struct KeyJudge : QueueGate::Judge {
    MessageKey key;
  };
  if (!queue.values || queue.values->keyless == QueueKeyless::Take) return true;
  auto* judge = create<KeyJudge>();
  if (!judge || MessageKey::parse(queue.values->key.expression(), judge->key) != Status::Ok) {
    destroy(judge);
    return false;
  }
  judge->takes = [](const QueueGate::Judge& self, const Message& message) noexcept {
    TextKey key;
    return static_cast<const KeyJudge&>(self).key.of(message.view(), 0, key);
  };
  judge->end = [](QueueGate::Judge& self) noexcept { destroy(static_cast<KeyJudge*>(&self)); };
  judge->tells = queue.values->keyless == QueueKeyless::Reject;
  queue.filter->gate().set_judge(judge);
  return true;
}

bool Queues::start_reading(Queue& queue) noexcept { return fan_out_.journal_of(*queue.filter).attach(queue.reader); }

void Queues::set_gate(Queue& queue) noexcept {
  const auto bound = [](uint64_t max) { return max ? max : UINT64_MAX; };
  const QueueOptions& options = queue.options;
  queue.filter->gate().set_limits(bound(options.messages_max), bound(options.bytes_max), options.overflow);
}

Status Queues::declare(const QueueIdentity& identity, const QueueOptions& options, std::string_view dead_letter_topic,
                       Queue*& queue) noexcept {
  queue = find(identity.namespace_id, identity.name);
  if (queue) return Status::Exists;
  MessageKey key;
  if (const Status status = MessageKey::parse(identity.key, key); status != Status::Ok) return status;
  queue = make(identity, options, dead_letter_topic);
  if (!queue) return Status::NoMemory;
  if (!start_reading(*queue)) {
    end(*std::exchange(queue, nullptr));
    return Status::NoMemory;
  }
  courier_.record_queue(*queue);
  return Status::Ok;
}

Status Queues::set_options(Queue& queue, const QueueOptions& options, std::string_view dead_letter_topic,
                           Instant now) noexcept {
  if (!queue.dead_letter_topic.set(dead_letter_topic)) return Status::NoMemory;
  queue.options = options;
  set_gate(queue);
  queue.enforce_limits(0);
  if (!options.exclusive) {
    queue.work->active = nullptr;
  } else {
    queue.choose_active();
  }
  courier_.record_queue(queue);
  queue.drop_old(now);
  queue.arm_age(now);
  queue.flush(now);
  return Status::Ok;
}

void Queues::remove(Queue& queue, Instant now) noexcept {
  courier_.forget_queue(queue);
  Array<QueueMember> told;  // by which nothing of the queue is reached any more
  for (const QueueMember* member : queue.work->members) {
    static_cast<void>(told.push_back(*member));  // without memory: fewer
  }
  end(queue);
  for (const QueueMember& member : told) {
    if (member.here) {
      member.here->on_queue_deleted(now);
    } else {
      member_courier_.tell_deleted(member.shard, member.membership, now);
    }
  }
}

void Queues::end(Queue& queue) noexcept {
  queues_.remove(queue);
  queue.ListLink<ChangedTag>::unlink();
  queue.ListLink<ReadyTag>::unlink();
  queue.cancel();
  for (QueueMember* member : queue.work->members) members_.give_back(*member);
  if (queue.values) {
    while (queue.values->stale.pop_front()) {}
    while (queue.values->waiting.pop_front()) {}
    queue.values->by_key.for_each([this, &queue](QueueValue& value) {
      queue.values->by_key.remove(value);
      values_.give_back(value);
    });
  }
  if (queue.reader.journal) queue.reader.journal->detach(queue.reader);
  fan_out_.remove_queue(*queue.filter);
  slab_.give_back(queue);
}

uint64_t Queues::purge(Queue& queue, Instant now) noexcept {
  const uint64_t purged = queue.drop_waiting_below(UINT64_MAX);
  queue.work->figures.purged += purged;
  queue.flush(now);
  return purged;
}

QueueValue* Queues::find_value(Queue& queue, uint64_t number) noexcept {
  if (!queue.last_only()) return nullptr;
  auto& waiting = queue.values->waiting;
  QueueValue* value = waiting.front();
  while (value && value->number < number) value = waiting.next(*value);
  return value && value->number == number ? value : nullptr;
}

// What stands before it in the journal comes out of there too, to wait beside what came back.
bool Queues::begin_move(Queue& queue, uint64_t number) noexcept {
  constexpr uint32_t kBesideMax = 10'000;
  if (!queue.make_ready()) return false;
  if (QueueValue* value = find_value(queue, number)) {
    if (value->count || !queue.work->open.make_room()) return false;
    queue.open_value(*value);
  }
  while (!queue.last_only() && !find_number(queue.work->open, number)) {
    const JournalEntry* entry = queue.journal().peek(queue.reader);
    if (!entry || entry->number > number || queue.work->waiting_count >= kBesideMax || !queue.work->open.make_room()) {
      return false;
    }
    queue.enter_open_from_journal();
  }
  QueueOpen* one = find_number(queue.work->open, number);
  if (!one || one->settled || one->member) return false;
  queue.give_to(*one, Queue::kMover, Instant{INT64_MAX});
  return true;
}

// --- consumers

MemberId Queues::join(Queue& queue, uint32_t shard, SlabHandle membership, MemberState state) noexcept {
  QueueMember* member = queue.make_ready() && queue.work->members.make_room() ? members_.take() : nullptr;
  if (!member) return 0;
  member->queue = &queue;
  member->membership = membership;
  member->shard = static_cast<uint8_t>(shard);
  member->index = queue.work->members.count();
  static_cast<void>(queue.work->members.push_back(member));  // there is room
  queue.set_state(*member, state);
  return id_of(*member);
}

void Queues::leave(MemberId id, Instant now, QueueReturn why) noexcept {
  QueueMember* member = find_member(id);
  if (!member) return;
  Queue& queue = *member->queue;
  if (queue.work->active == member) queue.work->active = nullptr;
  for (uint32_t i = member->index; i + 1 < queue.work->members.count(); ++i) {  // in the order in which they came
    queue.work->members[i] = queue.work->members[i + 1];
    queue.work->members[i]->index = i;
  }
  queue.work->members.pop_back();
  members_.give_back(*member);
  if (queue.options.exclusive) queue.choose_active();
  queue.take_back_all(id, why, now);
  queue.flush(now);
}

void Queues::set_state(MemberId id, MemberState state, Instant now) noexcept {
  QueueMember* member = find_member(id);
  if (!member) return;
  member->full = false;
  member->queue->set_state(*member, state);
  member->queue->flush(now);
}

void Queues::note_away(MemberId id, Instant now) noexcept {
  QueueMember* member = find_member(id);
  if (!member) return;
  member->queue->note_declined(*member, Handed::Away);
  member->queue->flush(now);
}

void Queues::done(MemberId id, std::span<const uint64_t> numbers, Instant now) noexcept {
  QueueMember* member = find_member(id);
  if (!member) return;
  Queue& queue = *member->queue;
  bool away = false;  // it goes: what it gives back is not for it, until it says that it is there
  member->open_count -= std::min(static_cast<uint32_t>(numbers.size()), member->open_count);
  for (const uint64_t marked : numbers) {
    if (marked & GroupNumbers::kReturned) away = true;
    QueueOpen* one = find_number(queue.work->open, marked & ~GroupNumbers::kMarks);
    if (!one || one->settled) continue;
    const bool settles = !(marked & (GroupNumbers::kReturned | GroupNumbers::kRejected));
    const bool late = settles && !one->member && one->last == id;  // but nobody else has had it since
    if (one->member != id && !late) continue;
    if (settles) {
      ++queue.work->figures.settled;
      queue.settle(*one);
    } else {
      queue.take_back(*one, marked & GroupNumbers::kRejected ? QueueReturn::Rejected : QueueReturn::Lost, now);
    }
  }
  if (away) queue.note_declined(*member, Handed::Away);
  queue.flush(now);
}

// The member may have left meanwhile: what he had was taken back then.
void Queues::give_back(MemberId id, uint64_t number, Handed why, Instant now) noexcept {
  QueueMember* member = find_member(id);
  if (!member) return;
  Queue& queue = *member->queue;
  if (member->open_count) --member->open_count;
  queue.note_declined(*member, why);
  QueueOpen* one = find_number(queue.work->open, number);
  if (one && one->member == id) queue.take_back(*one, QueueReturn::NotSent, now);
  queue.flush(now);
}

// --- the turn

void Queues::run(Instant now) noexcept {
  running_ = true;
  while (Queue* queue = ready_.pop_front()) queue->flush(now);
}

void Queues::on_fetched(SlabHandle of, Ring<FetchedMessage>& messages, Instant now) noexcept {
  Queue* queue = slab_.find(of);
  if (!queue) return messages.reset();
  if (queue->work->ahead.take(messages)) {
    queue->flush(now);
  } else {
    queue->changed();  // some time later again
  }
}

uint64_t Queues::lowest_number(uint64_t seen_number) noexcept {
  uint64_t lowest = UINT64_MAX;
  queues_.for_each([&](Queue& queue) {
    lowest = std::min(lowest, queue.position(seen_number));
    Ring<QueueOpen>& open = queue.work->open;
    if (!open.empty()) lowest = std::min(lowest, open.front().number);  // settled ones until it is recorded
    if (queue.last_only()) lowest = std::min(lowest, queue.lowest_value());
  });
  return lowest;
}

void Queues::add_needed(NeededNumbers& needed, uint32_t pass) noexcept {
  queues_.for_each([&](Queue& queue) {
    needed.add_journal(queue.journal(), pass);
    for (uint32_t i = 0; i < queue.work->open.count(); ++i) {
      if (queue.work->open[i].number <= needed.up_to) needed.add(queue.work->open[i].number);
    }
    if (!queue.last_only()) return;
    queue.values->by_key.for_each([&](const QueueValue& value) {
      for (const uint64_t number : {value.number, value.recorded}) {
        if (number && number <= needed.up_to) needed.add(number);
      }
    });
  });
}

// --- how they come back

Queue* Queues::restore(const QueueIdentity& identity, const QueueOptions& options,
                       std::string_view dead_letter_topic) noexcept {
  running_ = false;
  return make(identity, options, dead_letter_topic);
}

bool Queues::restore_arrival(Queue& queue, int64_t at_ms, uint64_t number) noexcept {
  if (!queue.make_ready()) return false;
  queue.work->arrivals.note(at_ms, number);
  return true;
}

bool Queues::restore_open(Queue& queue, uint64_t number, uint32_t size, uint16_t deliveries,
                          const TextKey& key) noexcept {
  if (!queue.make_ready() || !queue.work->open.make_room()) return false;
  QueueOpen& one = queue.enter_open(number, {}, size);
  one.deliveries = deliveries;
  one.why = QueueReturn::Lost;
  queue.filter->gate().add(size);
  one.judged = queue.last_only() || key.first || key.second;
  if (!queue.values || !(key.first || key.second)) return true;
  one.value = queue.find_or_make_value(key);
  if (!one.value) return false;
  ++one.value->count;
  one.value->open_number = number;
  return true;
}

void Queues::evict(uint64_t number) noexcept {
  queues_.for_each([&](Queue& queue) {
    for (uint32_t i = 0;
         queue.work->waiting_count && i < queue.work->open.count() && queue.work->open[i].number <= number; ++i) {
      if (!queue.work->open[i].member) queue.work->open[i].message = {};
    }
    if (!queue.last_only()) return;
    auto& waiting = queue.values->waiting;
    for (QueueValue* value = waiting.front(); value && value->number <= number; value = waiting.next(*value)) {
      value->message = {};
    }
  });
}

bool Queues::restore_reader(Queue& queue, Instant now) noexcept {
  if (!start_reading(queue)) return false;
  if (queue.options.age_max_s && !queue.work->arrivals.empty()) queue.arm(now);  // some may be too old by now
  return true;
}

uint64_t Queue::lowest_value() noexcept {
  uint64_t lowest = values->waiting.empty() ? UINT64_MAX : values->waiting.front()->number;
  for (QueueValue* one = values->stale.front(); one; one = values->stale.next(*one)) {
    if (one->recorded) lowest = std::min(lowest, one->recorded);
  }
  return lowest;
}

}  // namespace mqttq
