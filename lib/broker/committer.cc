#include "broker/committer.h"

#include <algorithm>

namespace mqttq {

namespace {

// What a message takes in the log, or a little less.
uint64_t record_size(const Message& message, const Route& route) noexcept {
  constexpr uint64_t kAround = 128;
  return message.content_size() + route.journals(message.qos()).size() * sizeof(uint64_t) + kAround;
}

// A will, a delayed message, one that nobody takes any more: who published it was answered before, or did not ask.
bool promised(const PublishOrigin& origin, const Message& message) noexcept {
  return !origin.wanted() && message.qos() != Qos::AtMostOnce;
}

// without: nullable.
bool among(const WithoutQueues* without, const Filter* filter) noexcept {
  return without && std::find(without->filters.begin(), without->filters.end(), filter) != without->filters.end();
}

// Those that let it in.
void leave_queues(std::span<Filter* const> queues, const WithoutQueues* without, uint32_t size) noexcept {
  for (Filter* queue : queues) {
    if (!among(without, queue)) queue->gate().leave(1, size);
  }
}

}  // namespace

Committer::Committer(PostOffice& office, Log& log, StoreHealth* health)
    : office_(office),
      log_(log),
      health_(health),
      postman_(office, office.committer()),
      last_number_(log.durable_number()),
      lowest_(office.committer(), 1),
      needed_(office.committer()) {}

bool Committer::turn(Instant now) noexcept {
  now_ = now;
  if (try_again_ && now >= try_again_at_) {
    try_again_ = false;
    if (!unwritten_) {
      probe();
    } else if (append() != Status::Ok) {
      on_failure();
    }
  }
  // While answers wait for room nothing new is taken: what is open stays bounded by the mailboxes and one batch. Who
  // refused us wakes us when he has room; when nobody did, no mail may be left behind, since its wake-up is spent.
  bool refused = postman_.flush(), memory = true;
  do {
    if (!refused) memory = gather();
    answer_durable();
    refused = postman_.flush();
  } while (memory && !refused && open_.empty() && office_.has_mail(office_.committer()));
  const bool failing = health_ && health_->failing.load(std::memory_order_relaxed);
  if ((unwritten_ || (failing && log_.keeps())) && !try_again_) {
    constexpr int64_t kTryAgain = 100 * kMillisecond;
    try_again_ = true;
    try_again_at_ = now + kTryAgain;
  }
  if (log_.keeps()) {
    constexpr int64_t kAskedAgain = 3 * kSecond;
    if (std::exchange(changed_, false)) tidies_until_ = now + kAskedAgain;
    log_.tend(now);
    ask_for_lowest(now);
    tell_evictable();
    tell_room();
  }
  return !open_.empty() || !memory || try_again_;
}

// Nothing waits for the log any more: an empty record says whether it works again.
void Committer::probe() noexcept {
  const LogRecord empty{++last_number_, nullptr, {}, {}};
  if (log_.append({&empty, 1}) == Status::Ok) note_health(false);
}

bool Committer::gather() noexcept {
  if (!office_.has_mail(office_.committer())) return true;
  bool memory = true;
  const uint32_t before = unwritten_, first = first_box_++;
  uint64_t bytes = 0;
  for (uint32_t i = 0; memory && i < office_.committer(); ++i) {
    const uint32_t from = (first + i) % office_.committer();
    Mailbox<Mail>& box = office_.box(from, office_.committer());
    while (unwritten_ < kBatchMax && bytes < kBatchBytes) {
      Mail* mail = box.front();
      if (!mail) break;
      if (mail->kind == Mail::Kind::Lowest) {
        lowest_[from] = mail->number;
        needed_[from].reset(static_cast<NeededNumbers*>(mail->payload.release()));
      } else if (!(memory = take(*mail, bytes))) {
        break;  // it stays where it is
      }
      box.pop();
    }
    if (box.take_room_wanted()) postman_.wake(from);
  }
  if (unwritten_ == before) return memory;
  changed_ = true;
  if (append() != Status::Ok) on_failure();
  return memory;
}

// bytes: grows by what its record takes.
bool Committer::take(Mail& mail, uint64_t& bytes) noexcept {
  const uint32_t records = 2 * (unwritten_ + 1);
  if (records > sizes_.capacity() && (!batch_.reserve(2 * records) || !sizes_.reserve(2 * records))) return false;
  if (!open_.make_room()) return false;
  Open open;
  open.origin = mail.origin;
  if (mail.kind == Mail::Kind::Record) {
    open.origin.shard = mail.from;
    open.state = std::move(mail.payload);
    open.serial = mail.token;
    bytes += static_cast<const StateRecord&>(*open.state).writes.span().size();
  } else {
    if (!enter_queues(*mail.message, *mail.route, open)) return false;
    open.shards_open = mail.route->journal_shards(mail.message->qos());
    open.message = std::move(mail.message);
    if (!made_alone(open)) {
      leave_queues(mail.route->queues(), open.without.get(), open.message->content_size());
      mail.message = std::move(open.message);
      return false;
    }
    open.route = std::move(mail.route);
    // It is sent again as a new one, or as a repeat if this end is not heard of: then nobody may take it for known.
    open.receipt = open.full_reason.ok() ? mail.number : 0;
    if (!open.origin.wanted()) open.origin.shard = mail.from;
    const uint64_t size = record_size(*open.message, *open.route);
    bytes += size;
    StoreQuota* quota = log_.quota();
    if (quota && !quota->take(size, promised(mail.origin, *open.message))) refuse(open, Detail::StoreFull);
  }
  static_cast<void>(open_.push_back(std::move(open)));  // there is room
  ++unwritten_;
  return true;
}

// Each queue that has room has it taken. False without memory: none has.
bool Committer::enter_queues(const Message& message, const Route& route, Open& open) noexcept {
  const uint32_t size = message.content_size();
  const auto queues = route.queues();
  const bool moved = open.origin.is_moved();
  for (size_t i = 0; i < queues.size(); ++i) {
    QueueGate& gate = queues[i]->gate();
    const QueueGate::Judge* judge = gate.judge();
    const bool fits = !judge || judge->takes(*judge, message);
    if (!fits) gate.count_unfit();
    if (fits && gate.enter(size)) {
      open.of_stream |= gate.of_stream();
      continue;
    }
    if (!open.without) open.without.reset(create<WithoutQueues>());
    if (!open.without || !open.without->filters.push_back(queues[i])) {
      leave_queues(queues.first(i), open.without.get(), size);
      return false;
    }
    if (!fits && (judge->tells || moved)) {
      open.full_reason = {ReasonCode::ImplementationSpecificError, Detail::QueueKeyMissing};
    }
    if (fits && (gate.overflow() == QueueOverflow::Reject || moved)) {
      open.full_reason = {ReasonCode::QuotaExceeded,
                          gate.too_large(size) ? Detail::QueueMessageTooLarge : Detail::QueueFull};
    }
  }
  return true;
}

// One that has its time was published before: whoever has it looks at that. False without memory.
bool Committer::made_alone(Open& open) noexcept {
  if (!open.of_stream || !open.message->logged_us() || open.origin.is_imported()) return true;
  MessageRef alone = Message::create(open.message->view());
  if (!alone) return false;
  open.message = std::move(alone);
  return true;
}

// Its time, which is never before that of another in the same stream, whatever the clock does.
void Committer::stamp(const Open& open) noexcept {
  newest_us_ = std::max(newest_us_, unix_offset_ms_ * 1000 + now_.ns / kMicrosecond);
  int64_t us = newest_us_;
  if (const int64_t had = open.message->logged_us(); had && open.origin.is_imported()) {
    us = std::min(had, newest_us_);
    for_each_stream(open, [&](Filter& filter) { us = std::max(us, filter.gate().stream_end().us); });
  }
  for_each_stream(open, [us](Filter& filter) { filter.gate().stream_end().us = us; });
  open.message->set_logged(us);
}

// Calls take(Filter&) for those that take its message, in an order that is its own.
template <class Take>
void Committer::for_each_stream(const Open& open, Take&& take) noexcept {
  if (!open.of_stream) return;
  for (Filter* filter : open.route->queues()) {
    if (filter->gate().of_stream() && !among(open.without.get(), filter)) take(*filter);
  }
}

// Of a batch that was not written.
void Committer::take_positions_back() noexcept {
  for (uint32_t i = open_.count() - unwritten_; i < open_.count(); ++i) {
    if (!std::exchange(open_[i].positioned, false)) continue;
    for_each_stream(open_[i], [](Filter& filter) { --filter.gate().stream_end().position; });
  }
}

// Those that take it, for its record, which is the last one: streams, their positions' next, and others. False without
// memory.
bool Committer::name_journals(Open& open) noexcept {
  const auto journals = open.route->journals(open.message->qos());
  if (open.without && open.without->filters.count() == journals.size()) batch_.back().message = nullptr;  // nobody
  Size& size = sizes_.back();
  bool memory = true;
  for_each_stream(open, [&](const Filter& filter) {
    memory = memory && journals_.push_back(filter.hash);
    ++size.positions;
  });
  size.count = size.positions;
  for (Filter* filter : journals) {
    if (filter->of_queue() && filter->gate().of_stream()) continue;
    bool durable = false;
    for (uint64_t shards = open.route->durable_shards(); shards && !durable; shards &= shards - 1) {
      durable = filter->interest(static_cast<uint32_t>(__builtin_ctzll(shards))) & Filter::kDurable;
    }
    if (!durable || among(open.without.get(), filter)) continue;
    if (!journals_.push_back(filter->hash)) return false;
    ++size.count;
  }
  for_each_stream(open, [&](Filter& filter) {
    const uint64_t position = filter.gate().stream_end().position++;
    memory = memory && journals_.push_back(uint64_t{position});
  });
  open.positioned = open.of_stream;
  return memory;
}

// Of the batch; there is room. size: see sizes_.
void Committer::add_record(const LogRecord& record, size_t size) noexcept {
  static_cast<void>(batch_.push_back(record));
  static_cast<void>(sizes_.push_back({static_cast<uint32_t>(size), 0}));
}

// Receipts since the last call, as a record of their own.
void Committer::end_receipts(uint64_t& number, size_t& begin) noexcept {
  const size_t size = receipts_.bytes().size() - begin;
  if (!size) return;
  add_record({++number, nullptr, {}, {}}, size);
  begin += size;
}

// All that is unwritten, as one batch, in its order. A message and its receipt are there together or not at all.
Status Committer::append() noexcept {
  const bool keeps = log_.keeps();
  const uint32_t first = open_.count() - unwritten_;
  uint64_t number = last_number_;
  size_t receipts_begin = 0;
  batch_.clear();
  sizes_.clear();
  journals_.clear();
  receipts_.clear();
  for (uint32_t i = first; i < open_.count(); ++i) {
    Open& open = open_[i];
    if (is_error(open.reason.code)) continue;              // an answer that memory was refused to
    if (open.state) end_receipts(number, receipts_begin);  // it may take one back
    open.number = ++number;
    if (open.of_stream) stamp(open);
    add_record({number, open.message.get(), {}, {}}, 0);
    if (!keeps) continue;
    if (open.state) {
      batch_.back().state = static_cast<const StateRecord&>(*open.state).writes.span();
      continue;
    }
    if (!name_journals(open)) return Status::NoMemory;
    if (open.receipt) {
      const StateKey key = state_key({open.message->publisher(), open.receipt}).add(open.origin.packet_id);
      receipts_.put(StateTable::Receipts, key.bytes(), {});
    }
  }
  if (receipts_.take_failure()) return Status::NoMemory;
  end_receipts(number, receipts_begin);
  size_t journals_at = 0, receipts_at = 0;
  for (uint32_t i = 0; keeps && i < batch_.count(); ++i) {  // the bytes move no more
    LogRecord& record = batch_[i];
    const Size& size = sizes_[i];
    if (record.message) {
      const std::span numbers = journals_.span().subspan(journals_at, size.count + size.positions);
      record.journals = numbers.first(size.count);
      record.positions = numbers.subspan(size.count);
      journals_at += numbers.size();
    } else if (size.count) {
      record.state = receipts_.bytes().subspan(receipts_at, size.count);
      receipts_at += size.count;
    }
  }
  if (batch_.empty()) {
    unwritten_ = 0;
    return Status::Ok;
  }
  last_number_ = number;  // those of a batch that fails are not used again
  if (const Status status = log_.append(batch_.span()); status != Status::Ok) return status;
  unwritten_ = 0;
  try_again_ = false;
  note_health(false);
  return Status::Ok;
}

// A failed write is answered negatively, for all messages that it concerned. Changes of state are true already, and
// stay until they can be written: who waits for them is told.
void Committer::on_failure() noexcept {
  note_health(true);
  take_positions_back();
  const uint32_t failed = std::exchange(unwritten_, 0);
  for (uint32_t good = open_.count() - failed; good; --good) {
    Open open = open_.pop_front();
    if (!open_.push_back(std::move(open))) return;  // there is room: one was taken out
  }
  for (uint32_t i = 0; i < failed; ++i) {
    Open open = open_.pop_front();
    open.number = 0;
    if (open.state) {
      open.told = open.told || answer_state(open, ReasonCode::QuotaExceeded);
    } else if (log_.keeps() && promised(open.origin, *open.message) && unwritten_ < kBatchMax / 2) {
      // It is tried again.
    } else {
      refuse(open, open.reason.ok() ? Detail::StoreFailing : open.reason.detail);
      if (answer(open)) continue;
    }
    if (!open_.push_back(std::move(open))) return;  // there is room, as above
    ++unwritten_;
  }
}

void Committer::refuse(Open& open, Detail why) noexcept {
  if (open.reason.ok()) leave_queues(open.route->queues(), open.without.get(), open.message->content_size());
  open.shards_open = 0;
  open.reason = {ReasonCode::QuotaExceeded, why};
}

void Committer::answer_durable() noexcept {
  const uint64_t durable = log_.durable_number();
  while (!open_.empty()) {
    Open& first = open_.front();
    if (!is_error(first.reason.code) && (first.number == 0 || first.number > durable)) break;
    if (!answer(first)) break;  // without memory: what is left of it at the next turn
    if (open_.count() == unwritten_) --unwritten_;
    open_.pop_front();
  }
}

bool Committer::answer(Open& open) noexcept {
  if (open.state) return answer_state(open, ReasonCode::Success);
  for (uint32_t shard = 0; open.shards_open; ++shard) {
    const uint64_t bit = uint64_t{1} << shard;
    if (!(open.shards_open & bit)) continue;
    const bool last = open.shards_open == bit;  // it takes what we have
    Mail mail;
    mail.kind = Mail::Kind::Append;
    mail.number = open.number;
    if (open.without) {
      std::unique_ptr<WithoutQueues, Destroy> without(create<WithoutQueues>());
      if (!without || !without->filters.append(open.without->filters.span())) return false;
      mail.payload.reset(without.release());
    }
    mail.message = last ? std::move(open.message) : open.message;
    mail.route = last ? std::move(open.route) : open.route;
    if (!postman_.post_surely(shard, std::move(mail))) {
      if (last) {
        open.message = std::move(mail.message);
        open.route = std::move(mail.route);
      }
      return false;
    }
    open.shards_open &= ~bit;
  }
  // Nobody waits for an answer, but what is lost is counted.
  if (!open.origin.wanted() && (open.reason.ok() || !log_.keeps())) return true;
  const Reason reason = open.reason.ok() ? open.full_reason : open.reason;
  Mail mail;
  mail.kind = Mail::Kind::Published;
  mail.origin = open.origin;
  mail.reason = reason.code;
  mail.token = static_cast<uint8_t>(reason.detail);
  return postman_.post_surely(open.origin.shard, std::move(mail));
}

bool Committer::answer_state(const Open& open, ReasonCode reason) noexcept {
  Mail mail;
  mail.kind = Mail::Kind::Recorded;
  mail.number = open.number;
  mail.token = open.serial;
  mail.reason = reason;
  return postman_.post_surely(open.origin.shard, std::move(mail));
}

void Committer::note_health(bool failing) noexcept {
  if (health_) health_->failing.store(failing, std::memory_order_relaxed);
}

// To the shards by what they look at, and an alarm that is another to the one that publishes it.
void Committer::tell_room() noexcept {
  const StoreQuota* quota = log_.quota();
  if (!health_ || !quota) return;
  health_->full.store(quota->full(), std::memory_order_relaxed);
  health_->bytes_used.store(quota->bytes_used(), std::memory_order_relaxed);
  health_->bytes_max.store(quota->bytes_max(), std::memory_order_relaxed);
  const StoreAlarm alarm = health_->failing.load(std::memory_order_relaxed) ? StoreAlarm::Failing
                           : quota->full()                                  ? StoreAlarm::Full
                           : quota->high()                                  ? StoreAlarm::High
                                                                            : StoreAlarm::Ok;
  if (alarm == health_->alarm.load(std::memory_order_relaxed)) return;
  const StoreAlarm before = health_->alarm.exchange(alarm, std::memory_order_relaxed);
  Mail mail;
  mail.kind = Mail::Kind::Alarm;
  if (!postman_.post_surely(0, std::move(mail)))
    health_->alarm.store(before, std::memory_order_relaxed);  // it is later
}

// Who has no room for it hears of a later one.
void Committer::tell_evictable() noexcept {
  const uint64_t number = log_.evictable();
  if (number == evicted_) return;
  evicted_ = number;
  for (uint32_t shard = 0; shard < office_.committer(); ++shard) {
    Mail mail;
    mail.kind = Mail::Kind::Evict;
    mail.number = number;
    static_cast<void>(postman_.post(shard, std::move(mail)));
  }
}

// All shards have answered. What is needed up to a number is known if each of them was asked for the same, and had
// memory for it.
void Committer::take_needed() noexcept {
  const auto good = [&](const auto& one) { return one && one->complete && one->up_to == needed_[0]->up_to; };
  if (!needed_[0] || !std::all_of(needed_.begin(), needed_.end(), good)) return;
  waiting_bytes_ = 0;
  for (const auto& one : needed_) waiting_bytes_ += one->waiting_bytes;
  NeededNumbers& all = *needed_[0];
  for (size_t i = 1; i < needed_.size(); ++i) {
    if (!all.numbers.append(needed_[i]->numbers.span())) all.up_to = 0;
  }
  std::sort(all.numbers.begin(), all.numbers.end());
  all.numbers.truncate(
      static_cast<uint32_t>(std::unique(all.numbers.begin(), all.numbers.end()) - all.numbers.begin()));
  if (all.up_to) log_.set_needed(all.up_to, all.numbers.span());
  for (auto& one : needed_) one.reset();
}

// Every second at most: each shard looks through its readers, in slices. An answer is true once what its shard recorded
// before it is durable: until then a crash would bring back who needs more.
void Committer::ask_for_lowest(Instant now) noexcept {
  constexpr int64_t kInterval = 1 * kSecond;
  if (unwritten_ || std::find(lowest_.begin(), lowest_.end(), 0) != lowest_.end()) return;
  if (lowest_asked_.ns) log_.set_lowest(*std::min_element(lowest_.begin(), lowest_.end()));
  take_needed();
  if (!log_.wants_lowest() || now - lowest_asked_ < kInterval) return;
  lowest_asked_ = now;
  const uint64_t up_to = log_.wants_needed(waiting_bytes_, now);
  for (uint32_t shard = 0; shard < office_.committer(); ++shard) {
    Mail mail;
    mail.kind = Mail::Kind::FindLowest;
    mail.number = last_number_;
    std::unique_ptr<NeededNumbers, Destroy> needed(create<NeededNumbers>());
    if (needed) needed->up_to = up_to;
    mail.payload.reset(needed.release());
    lowest_[shard] = postman_.post(shard, std::move(mail)) ? 0 : 1;  // it is asked the next time
  }
}

}  // namespace mqttq
