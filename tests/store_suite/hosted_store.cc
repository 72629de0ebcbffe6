#include "hosted_store.h"

#include <condition_variable>
#include <deque>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "base/random.h"
#include "mqttq/mqttq.h"
#include "store/host_store.h"

namespace mqttq {

namespace {

Bytes view(mqttq_bytes bytes) { return {static_cast<const std::byte*>(bytes.data), bytes.size}; }
mqttq_bytes view(Bytes bytes) { return {bytes.data(), bytes.size()}; }

mqttq_status status_of(Status status) {
  switch (status) {
    case Status::Ok: return MQTTQ_OK;
    case Status::Full: return MQTTQ_EFULL;
    case Status::NoMemory: return MQTTQ_ENOMEM;
    case Status::NotFound: return MQTTQ_ENOTFOUND;
    default: return MQTTQ_ESYSTEM;
  }
}

// A batch for the host's thread: copied, since what is borrowed is gone when commit() returns.
struct Job {
  struct Write {
    StoreWrite::Kind kind;
    uint8_t table;
    std::string key, value;
  };
  mqttq_store_batch* batch = nullptr;
  std::vector<Write> writes;
  bool carried_out = false;
  mqttq_status status = MQTTQ_OK;
};

class Host {
 public:
  Host(std::unique_ptr<Store> inner, Answers answers) : inner_(std::move(inner)), answers_(answers) {}

  static mqttq_store table(Host& host) {
    mqttq_store made;
    mqttq_store_init(&made, sizeof made);
    made.user = &host;
    made.open = [](void* user, mqttq_error*) {
      Host& self = of(user);
      if (self.answers_ != Answers::AtOnce) self.thread_ = std::thread([&self] { self.run(); });
      return MQTTQ_OK;
    };
    made.commit = [](void* user, const mqttq_store_write* writes, size_t count, mqttq_store_batch* batch) {
      of(user).commit({writes, count}, batch);
    };
    made.get = [](void* user, uint32_t number, mqttq_bytes key, mqttq_store_value* value) {
      Array<std::byte> found;
      const Status status = of(user).inner_->get(static_cast<uint8_t>(number), view(key), found);
      return status == Status::Ok ? mqttq_store_value_set(value, view(found.span())) : status_of(status);
    };
    made.scan = [](void* user, uint32_t number, mqttq_bytes first, mqttq_bytes end, mqttq_store_entry_fn on_entry,
                   void* entry_user) {
      struct PassOn final : StoreVisitor {
        bool on_entry(Bytes key, Bytes value) noexcept override { return to(to_user, view(key), view(value)) != 0; }
        mqttq_store_entry_fn to;
        void* to_user;
      } visitor;
      visitor.to = on_entry;
      visitor.to_user = entry_user;
      return status_of(of(user).inner_->scan(static_cast<uint8_t>(number), view(first), view(end), visitor));
    };
    made.usage = [](void* user, uint64_t* bytes, uint64_t* bytes_max) {
      const StoreUsage usage = of(user).inner_->usage();
      *bytes = usage.bytes;
      *bytes_max = usage.bytes_max;
    };
    made.close = [](void* user) { const std::unique_ptr<Host> ended(&of(user)); };
    return made;
  }

 private:
  // Ended by close().
  ~Host() {
    if (!thread_.joinable()) return;
    hand_over({});
    thread_.join();
  }
  friend std::default_delete<Host>;
  static Host& of(void* user) { return *static_cast<Host*>(user); }

  mqttq_status carry_out(std::span<const StoreWrite> writes) {
    Status told = Status::Io;
    inner_->commit(
        writes, 0, [](void* user, uint64_t, Status status) noexcept { *static_cast<Status*>(user) = status; }, &told);
    return status_of(told);
  }

  void commit(std::span<const mqttq_store_write> writes, mqttq_store_batch* batch) {
    std::vector<StoreWrite> ours;
    for (const mqttq_store_write& write : writes) {
      ours.push_back({static_cast<StoreWrite::Kind>(write.kind), static_cast<uint8_t>(write.table), view(write.key),
                      view(write.value)});
    }
    if (answers_ == Answers::AtOnce || (answers_ == Answers::Either && random_.below(2))) {
      return mqttq_store_batch_done(batch, carry_out(ours));
    }
    Job job;
    job.batch = batch;
    job.carried_out = answers_ == Answers::Either && random_.below(2);
    if (job.carried_out) {
      job.status = carry_out(ours);
    } else {
      for (const StoreWrite& write : ours) {
        job.writes.push_back(
            {write.kind, write.table, std::string(as_text(write.key)), std::string(as_text(write.value))});
      }
    }
    hand_over(std::move(job));
  }

  // A job without a batch ends the thread.
  void hand_over(Job job) {
    const std::lock_guard lock(mutex_);
    jobs_.push_back(std::move(job));
    came_.notify_one();
  }

  Job take() {
    std::unique_lock lock(mutex_);
    came_.wait(lock, [this] { return !jobs_.empty(); });
    Job job = std::move(jobs_.front());
    jobs_.pop_front();
    return job;
  }

  void run() {
    for (Job job = take(); job.batch; job = take()) {
      if (!job.carried_out) {
        std::vector<StoreWrite> writes;
        for (const Job::Write& write : job.writes) {
          writes.push_back({write.kind, write.table, as_bytes(write.key), as_bytes(write.value)});
        }
        job.status = carry_out(writes);
      }
      mqttq_store_batch_done(job.batch, job.status);
    }
  }

  const std::unique_ptr<Store> inner_;
  const Answers answers_;
  Random random_{11};
  std::mutex mutex_;
  std::condition_variable came_;
  std::deque<Job> jobs_;
  std::thread thread_;
};

}  // namespace

std::unique_ptr<Store> hosted(std::unique_ptr<Store> inner, Answers answers) {
  auto host = std::make_unique<Host>(std::move(inner), answers);
  Status status = Status::Ok;
  std::string problem;
  auto store = HostStore::open(Host::table(*host.release()), status, problem);
  if (!store) throw std::runtime_error(problem);
  return store;
}

}  // namespace mqttq
