// A store of the host's own, behind its table of functions (mqttq/store.h), which are called from nowhere else.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>

#include "mqttq/store.h"
#include "store/store.h"

namespace mqttq {
class HostStore;
}

// What a host has of a batch until it answers.
struct mqttq_store_batch {
  mqttq::HostStore* store = nullptr;
  uint64_t number = 0;
  mqttq::Store::OnDurable on_durable = nullptr;
  void* user = nullptr;
  bool open = false;  // the answer is still to come
};

// Where get() wants what the host has found.
struct mqttq_store_value {
  mqttq::Array<std::byte>& bytes;
  mqttq::Status status;  // of the last mqttq_store_value_set(); Io: there was none
};

namespace mqttq {

// What a host does against its contract becomes Io, as would a failing disk: a get() that hands no value over, a scan()
// with keys that are out of order or of no possible size, a status that has no business there.
class HostStore final : public Store {
 public:
  // nullptr: `status` and `problem`, for people, say why: Invalid (the table is of no use), or what the host's open()
  // said, in its own words. table: copied. Throws std::bad_alloc, with nothing open.
  static std::unique_ptr<HostStore> open(const mqttq_store& table, Status& status, std::string& problem);
  // Waits for the answer to the last batch.
  ~HostStore() override;

  // Waits until the batch before has been answered, as the host has one at a time; so on_durable does not call it.
  void commit(std::span<const StoreWrite> writes, uint64_t batch, OnDurable on_durable, void* user) noexcept override;
  Status get(uint8_t table, Bytes key, Array<std::byte>& value) noexcept override;
  Status scan(uint8_t table, Bytes first, Bytes end, StoreVisitor& visitor) noexcept override;
  StoreUsage usage() noexcept override;

  // The host's answer. A second one for the same batch is ignored, unless it comes so late that the batch's place is
  // taken by one that came kPlaces later, which cannot be told from it. Any thread.
  static void on_answer(mqttq_store_batch& batch, mqttq_status status) noexcept;
  // The host's value for get(). Errors: Invalid (longer than a value may be), NoMemory.
  static Status on_value(mqttq_store_value& value, mqttq_bytes bytes) noexcept;

 private:
  static constexpr uint64_t kPlaces = 16;

  explicit HostStore(const mqttq_store& table) noexcept;
  mqttq_store_batch& open_batch(uint64_t number, OnDurable on_durable, void* user) noexcept;
  bool translate(std::span<const StoreWrite> writes) noexcept;

  const mqttq_store table_;
  bool opened_ = false;
  Array<mqttq_store_write> writes_;  // of the batch that is handed over
  std::mutex mutex_;                 // for what follows
  std::condition_variable idle_;
  bool busy_ = false;  // from commit() until on_durable has returned
  uint64_t count_ = 0;
  mqttq_store_batch places_[kPlaces];
};

}  // namespace mqttq
