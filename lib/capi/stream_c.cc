#include <fmt/format.h>

#include "capi/at_home.h"
#include "capi/host_events.h"
#include "capi/host_reader.h"
#include "capi/letters.h"
#include "capi/pages.h"
#include "capi/stream_lines.h"
#include "message/topic.h"
#include "queue/queue_address.h"
#include "stream/stream_address.h"

using namespace mqttq;
using namespace mqttq::capi;

struct mqttq_streams {
  struct One {
    std::string name, topic_filter, key;
    mqttq_stream figures;
  };
  std::vector<One> streams;
};

struct mqttq_stream_lags {
  struct One {
    std::string client_id, cursor, topic_filter;
    mqttq_stream_lag figures;
  };
  std::vector<One> lags;
};

struct mqttq_stream_reader {
  mqttq_stream_reader(mqttq_broker& of, uint32_t on, size_t ahead) : broker(of), shard(on), inside(ahead) {}
  mqttq_broker& broker;
  const uint32_t shard;
  HostReader inside;
};

struct mqttq_stream_messages {
  std::vector<HostReader::Item> items;
  int64_t unix_offset_ms = 0;
  std::string ndjson;
};

namespace {

constexpr StreamOptions kDefaults;
constexpr Outcome kUnknown{MQTTQ_ENOTFOUND, "there is no such stream"};
constexpr const char* kStopping = "the broker is stopping";
constexpr const char* kCursorName = "cursor: at most 255 of 0-9 A-Z a-z . _ -, beginning with a letter or digit";
constexpr const char* kOffset = "offset: earliest, latest, a Unix time in microseconds, or @ and a position";

StreamOptions read_options(const mqttq_stream_config& config) noexcept {
  return {limit_of(config.messages_max, uint64_t{0}), limit_of(config.bytes_max, uint64_t{0}),
          limit_of(config.age_max_s, kDefaults.age_max_s)};
}

// What is wrong with the name, or the moment.
mqttq_status judge_call(mqttq_broker& broker, mqttq_bytes name, mqttq_error* error) {
  if (!is_valid_stream_name(text_of(name))) {
    return fail(error, MQTTQ_EINVAL,
                "name: at most 255 of 0-9 A-Z a-z . _ -, beginning with a letter or digit, or $s/<filter>");
  }
  return broker.may_wait(error);
}

// change_at_home() of a stream that has to be there, and is handed to `change`.
template <class Change>
mqttq_status change_stream(mqttq_broker& broker, mqttq_namespace* ns, mqttq_bytes name, mqttq_error* error,
                           Change&& change) {
  if (const mqttq_status status = judge_call(broker, name, error); status != MQTTQ_OK) return status;
  return change_at_home(broker, ns, text_of(name), error, [&](ShardCore& core, NamespaceId id, Instant now) -> Outcome {
    Stream* stream = core.streams().find(id, text_of(name));
    if (!stream) return kUnknown;
    change(core.streams(), *stream, now);
    return {};
  });
}

Outcome of_status(Status status) noexcept {
  switch (status) {
    case Status::Ok: return {};
    case Status::Full: return {MQTTQ_EFULL, "there are as many streams as there may be"};
    case Status::Unsupported: return {MQTTQ_EUNSUPPORTED, "key: this library was built without JSON"};
    case Status::Invalid:
      return {MQTTQ_EINVAL, "key: client_id, topic, topic_level:N, user_property:NAME or json:POINTER"};
    default: return {MQTTQ_ENOMEM, "out of memory"};
  }
}

mqttq_streams::One describe(Stream& stream, int64_t now_us) {
  constexpr int64_t kMinute_us = 60'000'000;
  const StreamIdentity identity = stream.identity();
  mqttq_streams::One one{std::string(identity.name), std::string(identity.topic_filter), std::string(identity.key), {}};
  mqttq_stream& out = one.figures;
  StreamIndex& index = stream.index;
  out.size = sizeof out;
  out.config.size = sizeof out.config;
  out.config.messages_max = said_of(stream.options.messages_max);
  out.config.bytes_max = said_of(stream.options.bytes_max);
  out.config.age_max_s = said_of(stream.options.age_max_s);
  out.config.last_value = stream.last_value;
  out.messages = index.count();
  out.bytes = index.bytes();
  out.first_position = stream.first();
  out.next_position = index.end();
  out.first_us = index.count() ? index.at(stream.first()).us : 0;
  out.last_us = stream.last_us;
  out.last_minute = index.count_from(index.find_time(now_us - kMinute_us));
  out.readers = stream.readers.count();
  for (const StreamReader* reader : stream.readers) out.readers_connected += reader->state.connected;
  out.entered = stream.figures.entered;
  out.trimmed = stream.figures.trimmed;
  out.delivered = stream.figures.delivered;
  out.replaced = stream.figures.replaced;
  return one;
}

mqttq_stream_lags::One describe(const StreamReader& reader) {
  Stream& stream = *reader.stream;
  mqttq_stream_lags::One one{std::string(reader.client_id.view()), {}, std::string(reader.topic_filter.view()), {}};
  mqttq_stream_lag& out = one.figures;
  out.size = sizeof out;
  out.position = reader.next;
  out.connected = reader.state.connected;
  if (StreamCursor* cursor = reader.cursor) {
    one.cursor = cursor->name.view();
    out.position = cursor->committed();
    out.connected = 0;
    for (const CursorMember* member : cursor->members) out.connected += member->state.connected;
  }
  const uint64_t first = stream.index.next(std::max(out.position, stream.index.first()));
  if (first < stream.index.end()) {
    out.messages = stream.index.count_from(first);
    out.time_us = static_cast<uint64_t>(stream.last_us - stream.index.at(first).us);
  }
  out.delivered = reader.delivered;
  return one;
}

}  // namespace

extern "C" {

void mqttq_stream_config_init(mqttq_stream_config* config, size_t size) { init_struct(config, size); }

mqttq_status mqttq_stream_declare(mqttq_broker* broker, mqttq_namespace* ns, mqttq_bytes name,
                                  const mqttq_stream_config* config, mqttq_error* error) {
  return guard(error, [&]() -> mqttq_status {
    mqttq_stream_config known;
    if (!config || !read_struct(config, known)) {
      return fail(error, MQTTQ_EINVAL, "config: NULL, or asks for more than this library has");
    }
    if (known.no_wait > 1) return fail(error, MQTTQ_EINVAL, "no_wait: neither 0 nor 1");
    std::string_view topic_filter = text_of(known.topic_filter);
    if (is_unnamed_stream(text_of(name))) {
      const std::string_view own = text_of(name).substr(kUnnamedStreamPrefix.size());
      if (!topic_filter.empty() && topic_filter != own) {
        return fail(error, MQTTQ_EINVAL, "topic_filter: another one than the name says");
      }
      topic_filter = own;
    }
    if (is_valid_stream_name(text_of(name))) {
      if (topic_filter.empty()) return fail(error, MQTTQ_EINVAL, "topic_filter: to be given");
      if (!is_valid_topic_filter(topic_filter) || !may_be_kept(topic_filter) ||
          topic_level_count(topic_filter) > broker->limits().topic_levels_max) {
        return fail(error, MQTTQ_EINVAL,
                    "topic_filter: not a topic filter, one of the server's topics, or too many levels");
      }
    }
    if (known.last_value > 1) return fail(error, MQTTQ_EINVAL, "last_value: neither 0 nor 1");
    const StreamIdentity identity{id_of(ns), text_of(name), topic_filter, 0, text_of(known.key), known.last_value == 1};
    if (identity.last_value && identity.key.empty()) return fail(error, MQTTQ_EINVAL, "key: last_value needs one");
    MessageKey key;
    if (const Outcome judged = of_status(MessageKey::parse(identity.key, key)); judged.status != MQTTQ_OK) {
      return fail(error, judged.status, judged.text);
    }
    if (const mqttq_status status = judge_call(*broker, name, error); status != MQTTQ_OK) return status;
    return change_at_home(
        *broker, ns, text_of(name), error,
        [&](ShardCore& core, NamespaceId, Instant now) -> Outcome {
          Stream* stream = nullptr;
          const Status status = core.declare_stream(identity, read_options(known), stream);
          if (status != Status::Exists) return of_status(status);
          if (stream->topic_filter() != topic_filter) {
            return {MQTTQ_EEXIST, "topic_filter: the stream has another one"};
          }
          if (stream->key.expression() != identity.key) return {MQTTQ_EEXIST, "key: the stream has another one"};
          if (stream->last_value != identity.last_value) return {MQTTQ_EEXIST, "last_value: the stream has another"};
          core.streams().set_options(*stream, read_options(known), now);
          return {};
        },
        !known.no_wait);
  });
}

mqttq_status mqttq_stream_change(mqttq_broker* broker, mqttq_namespace* ns, mqttq_bytes name,
                                 const mqttq_stream_config* config, mqttq_error* error) {
  return guard(error, [&]() -> mqttq_status {
    mqttq_stream_config known;
    if (!config || !read_struct(config, known)) {
      return fail(error, MQTTQ_EINVAL, "config: NULL, or asks for more than this library has");
    }
    return change_stream(*broker, ns, name, error, [&](Streams& streams, Stream& stream, Instant now) {
      streams.set_options(stream, read_options(known), now);
    });
  });
}

mqttq_status mqttq_stream_delete(mqttq_broker* broker, mqttq_namespace* ns, mqttq_bytes name, mqttq_error* error) {
  return guard(error, [&]() -> mqttq_status {
    return change_stream(*broker, ns, name, error,
                         [](Streams& streams, Stream& stream, Instant now) { streams.remove(stream, now); });
  });
}

mqttq_status mqttq_stream_truncate(mqttq_broker* broker, mqttq_namespace* ns, mqttq_bytes name, mqttq_bytes offset,
                                   uint64_t* dropped, mqttq_error* error) {
  return guard(error, [&]() -> mqttq_status {
    StreamOffset from;
    if (!parse_stream_offset(text_of(offset), from)) return fail(error, MQTTQ_EINVAL, kOffset);
    uint64_t count = 0;
    const mqttq_status status =
        change_stream(*broker, ns, name, error, [&](Streams& streams, Stream& stream, Instant now) {
          count = streams.truncate(stream, Streams::resolve(stream, from, now).position);
        });
    if (dropped && status == MQTTQ_OK) *dropped = count;
    return status;
  });
}

// --- what there is

mqttq_status mqttq_streams_list(mqttq_broker* broker, mqttq_namespace* ns, mqttq_bytes name, uint64_t* cursor,
                                size_t count, mqttq_streams** out, mqttq_error* error) {
  return guard(error, [&]() -> mqttq_status {
    if (!cursor || !out) return fail(error, MQTTQ_EINVAL, "cursor or out: NULL");
    if (name.size) {
      if (const mqttq_status status = judge_call(*broker, name, error); status != MQTTQ_OK) return status;
    }
    if (const mqttq_status status = broker->may_wait(error); status != MQTTQ_OK) return status;
    if (!count) count = 1000;
    auto list = std::make_unique<mqttq_streams>();
    const NamespaceId id = id_of(ns);
    const Policy& policy = broker->broker->policy();
    if (name.size) {
      broker->on_shard(home_of(*broker, id, text_of(name)), [&](ShardCore& core, Instant now) {
        Stream* stream = core.streams().find(id, text_of(name));
        if (stream) list->streams.push_back(describe(*stream, policy.unix_us(now)));
      });
      *cursor = 0;
    } else {
      *cursor = walk_page(
          *broker, *cursor, [](ShardCore& core) -> auto& { return core.streams().slab(); },
          [&](uint32_t, Stream& stream, Instant now) {
            if (stream.namespace_id != id) return true;
            if (list->streams.size() == count) return false;
            list->streams.push_back(describe(stream, policy.unix_us(now)));
            return true;
          });
    }
    *out = list.release();
    return MQTTQ_OK;
  });
}

size_t mqttq_streams_count(const mqttq_streams* streams) { return streams->streams.size(); }

mqttq_stream mqttq_streams_get(const mqttq_streams* streams, size_t index) {
  const auto& one = streams->streams[index];
  mqttq_stream stream = one.figures;
  stream.name = bytes_of(one.name);
  stream.config.topic_filter = bytes_of(one.topic_filter);
  stream.config.key = bytes_of(one.key);
  return stream;
}

void mqttq_streams_free(mqttq_streams* streams) { delete streams; }

mqttq_status mqttq_stream_lags_list(mqttq_broker* broker, mqttq_namespace* ns, mqttq_bytes name,
                                    mqttq_stream_lags** out, mqttq_error* error) {
  return guard(error, [&]() -> mqttq_status {
    if (!out) return fail(error, MQTTQ_EINVAL, "out: NULL");
    if (const mqttq_status status = judge_call(*broker, name, error); status != MQTTQ_OK) return status;
    auto list = std::make_unique<mqttq_stream_lags>();
    const NamespaceId id = id_of(ns);
    bool found = false;
    broker->on_shard(home_of(*broker, id, text_of(name)), [&](ShardCore& core, Instant) {
      Stream* stream = core.streams().find(id, text_of(name));
      if (!stream) return;
      found = true;
      for (const StreamReader* reader : stream->readers) list->lags.push_back(describe(*reader));
    });
    if (!found) return fail(error, kUnknown.status, kUnknown.text);
    *out = list.release();
    return MQTTQ_OK;
  });
}

size_t mqttq_stream_lags_count(const mqttq_stream_lags* lags) { return lags->lags.size(); }

mqttq_stream_lag mqttq_stream_lags_get(const mqttq_stream_lags* lags, size_t index) {
  const auto& one = lags->lags[index];
  mqttq_stream_lag lag = one.figures;
  lag.client_id = bytes_of(one.client_id);
  lag.cursor = bytes_of(one.cursor);
  lag.topic_filter = bytes_of(one.topic_filter);
  return lag;
}

void mqttq_stream_lags_free(mqttq_stream_lags* lags) { delete lags; }

// --- readers

void mqttq_stream_reader_config_init(mqttq_stream_reader_config* config, size_t size) { init_struct(config, size); }

mqttq_status mqttq_stream_reader_open(mqttq_broker* broker, const mqttq_stream_reader_config* config,
                                      mqttq_stream_reader** out, mqttq_error* error) {
  return guard(error, [&]() -> mqttq_status {
    constexpr uint32_t kAhead = 1000;
    mqttq_stream_reader_config known;
    if (!config || !out) return fail(error, MQTTQ_EINVAL, "config or out: NULL");
    if (!read_struct(config, known)) return fail(error, MQTTQ_EINVAL, "config: asks for more than this library has");
    StreamTerms terms;
    if (known.offset.size && !parse_stream_offset(text_of(known.offset), terms.offset)) {
      return fail(error, MQTTQ_EINVAL, kOffset);
    }
    const std::string_view name = text_of(known.stream), topic_filter = text_of(known.topic_filter);
    if (!topic_filter.empty() && !is_valid_topic_filter(topic_filter)) {
      return fail(error, MQTTQ_EINVAL, "topic_filter: not a topic filter");
    }
    terms.cursor = text_of(known.cursor);
    if (!terms.cursor.empty() && !is_valid_object_name(terms.cursor)) return fail(error, MQTTQ_EINVAL, kCursorName);
    if (!terms.cursor.empty() && !topic_filter.empty()) {
      return fail(error, MQTTQ_EINVAL, "topic_filter: a named cursor reads the whole stream");
    }
    if (const mqttq_status status = judge_call(*broker, known.stream, error); status != MQTTQ_OK) return status;
    const NamespaceId id = id_of(known.ns);
    const uint32_t shard = home_of(*broker, id, name);
    auto reader = std::make_unique<mqttq_stream_reader>(*broker, shard, known.ahead ? known.ahead : kAhead);
    Status status = Status::Shutdown;
    broker->on_shard(shard, [&](ShardCore& core, Instant now) {
      status = reader->inside.open(core, id, name, topic_filter, terms, now);
    });
    if (status == Status::Shutdown) return fail(error, MQTTQ_ESHUTDOWN, kStopping);
    if (status == Status::NotFound) return fail(error, kUnknown.status, kUnknown.text);
    if (status == Status::Invalid) return fail(error, MQTTQ_EINVAL, "topic_filter: the stream's does not cover it");
    if (status == Status::Exists) return fail(error, MQTTQ_EEXIST, "cursor: a client reads with it");
    if (status == Status::Full) return fail(error, MQTTQ_EFULL, "cursor: there are as many as there may be");
    if (status != Status::Ok) return fail(error, MQTTQ_ENOMEM, "out of memory");
    *out = reader.release();
    return MQTTQ_OK;
  });
}

void mqttq_stream_reader_close(mqttq_stream_reader* reader) {
  if (!reader) return;
  static_cast<void>(guard(nullptr, [&]() -> mqttq_status {
    reader->broker.on_shard_or_here(reader->shard, [&](ShardCore&, Instant) { reader->inside.close(); });
    return MQTTQ_OK;
  }));
  delete reader;
}

mqttq_status mqttq_stream_seek(mqttq_stream_reader* reader, mqttq_bytes offset, mqttq_error* error) {
  return guard(error, [&]() -> mqttq_status {
    StreamOffset to;
    if (!parse_stream_offset(text_of(offset), to)) return fail(error, MQTTQ_EINVAL, kOffset);
    if (const mqttq_status status = reader->broker.may_wait(error); status != MQTTQ_OK) return status;
    bool there = false;
    const bool ran =
        reader->broker.on_shard(reader->shard, [&](ShardCore&, Instant now) { there = reader->inside.seek(to, now); });
    if (!ran) return fail(error, MQTTQ_ESHUTDOWN, kStopping);
    return there ? MQTTQ_OK : fail(error, kUnknown.status, kUnknown.text);
  });
}

mqttq_status mqttq_stream_commit(mqttq_stream_reader* reader, uint64_t position, mqttq_error* error) {
  return guard(error, [&]() -> mqttq_status {
    mqttq_broker& broker = reader->broker;
    if (!reader->inside.has_cursor()) return fail(error, MQTTQ_EINVAL, "reader: it has no cursor");
    if (position == UINT64_MAX) return fail(error, MQTTQ_EINVAL, "position: too large");
    if (const mqttq_status status = broker.may_wait(error); status != MQTTQ_OK) return status;
    Status status = Status::Shutdown;
    DurableWait wait;
    broker.on_shard(reader->shard, [&](ShardCore& core, Instant) {
      status = reader->inside.commit(position + 1);
      if (status == Status::Ok && !broker.host_loop) wait.begin(core);
    });
    if (status == Status::Shutdown) return fail(error, MQTTQ_ESHUTDOWN, kStopping);
    if (status == Status::Invalid) return fail(error, MQTTQ_EINVAL, "position: the stream has none so high");
    if (status != Status::Ok) return fail(error, MQTTQ_ENOTFOUND, "there is no such stream or cursor any more");
    return wait.end() ? MQTTQ_OK : fail(error, MQTTQ_ESYSTEM, "it could not be written yet; it is true all the same");
  });
}

mqttq_status mqttq_stream_cursor_delete(mqttq_broker* broker, mqttq_namespace* ns, mqttq_bytes stream,
                                        mqttq_bytes cursor, mqttq_error* error) {
  return guard(error, [&]() -> mqttq_status {
    if (const mqttq_status status = judge_call(*broker, stream, error); status != MQTTQ_OK) return status;
    return change_at_home(*broker, ns, text_of(stream), error,
                          [&](ShardCore& core, NamespaceId id, Instant now) -> Outcome {
                            Stream* of = core.streams().find(id, text_of(stream));
                            StreamCursor* found = of ? core.cursors().find(*of, text_of(cursor)) : nullptr;
                            if (!found) return {MQTTQ_ENOTFOUND, "there is no such stream or cursor"};
                            core.cursors().remove(*found, now);
                            return {};
                          });
  });
}

mqttq_status mqttq_stream_read(mqttq_stream_reader* reader, size_t count, uint32_t timeout_ms,
                               mqttq_stream_messages** out, mqttq_error* error) {
  return guard(error, [&]() -> mqttq_status {
    if (!out) return fail(error, MQTTQ_EINVAL, "out: NULL");
    mqttq_broker& broker = reader->broker;
    if (const mqttq_status status = broker.may_wait(error); status != MQTTQ_OK) return status;
    auto list = std::make_unique<mqttq_stream_messages>();
    list->unix_offset_ms = broker.broker->policy().unix_offset_ms;
    bool resumes = false;
    const std::chrono::milliseconds timeout(broker.host_loop ? 0 : timeout_ms);
    if (!reader->inside.take(count ? count : 100, timeout, list->items, resumes)) {
      if (broker.stopped) return fail(error, MQTTQ_ESHUTDOWN, kStopping);
      return fail(error, kUnknown.status, kUnknown.text);
    }
    if (resumes) broker.on_shard(reader->shard, [&](ShardCore&, Instant) { reader->inside.resume(); });
    *out = list.release();
    return MQTTQ_OK;
  });
}

size_t mqttq_stream_messages_count(const mqttq_stream_messages* messages) { return messages->items.size(); }

mqttq_streamed mqttq_stream_messages_get(const mqttq_stream_messages* messages, size_t index) {
  const HostReader::Item& one = messages->items[index];
  return {sizeof(mqttq_streamed), one.at.position, one.at.us, one.at.skipped, handle_of(one.message)};
}

void mqttq_stream_messages_free(mqttq_stream_messages* messages) { delete messages; }

mqttq_status mqttq_stream_messages_ndjson(mqttq_stream_messages* messages, mqttq_bytes* out, mqttq_error* error) {
  return guard(error, [&]() -> mqttq_status {
    if (!messages || !out) return fail(error, MQTTQ_EINVAL, "messages or out: NULL");
    std::string text;
    for (const HostReader::Item& one : messages->items) {
      append_line(*one.message, one.at, messages->unix_offset_ms, text);
    }
    messages->ndjson = std::move(text);
    *out = bytes_of(messages->ndjson);
    return MQTTQ_OK;
  });
}

mqttq_status mqttq_stream_import(mqttq_broker* broker, mqttq_namespace* ns, mqttq_bytes name, mqttq_bytes ndjson,
                                 uint64_t* imported, mqttq_error* error) {
  return guard(error, [&]() -> mqttq_status {
    if (imported) *imported = 0;
    if (!reads_lines()) return fail(error, MQTTQ_EUNSUPPORTED, "this library was built without JSON");
    if (ndjson.size && !ndjson.data) return fail(error, MQTTQ_EINVAL, "ndjson: NULL with a size");
    if (const mqttq_status status = judge_call(*broker, name, error); status != MQTTQ_OK) return status;
    const NamespaceId id = id_of(ns);
    std::vector<ReadLine> messages;
    const std::string wrong = read_lines(text_of(ndjson), id, broker->broker->policy().unix_offset_ms, messages);
    if (!wrong.empty()) return fail(error, MQTTQ_EINVAL, wrong);
    constexpr size_t kAtOnce = 1000;  // on their way, before others are looked at
    const uint32_t home = home_of(*broker, id, text_of(name));
    Letters letters(!broker->host_loop);
    Outcome outcome;
    std::string problem;
    for (size_t next = 0; outcome.status == MQTTQ_OK && (next < messages.size() || next == 0); next += kAtOnce) {
      const bool ran = broker->on_shard(home, [&](ShardCore& core, Instant now) {
        Stream* stream = core.streams().find(id, text_of(name));
        if (!stream) {
          outcome = kUnknown;
          return;
        }
        const auto is_foreign = [&](const ReadLine& one) {
          return !topic_matches(stream->topic_filter(), one.message->topic_name());
        };
        const auto foreign =  // all are looked at before the first is taken
            next == 0 ? std::find_if(messages.begin(), messages.end(), is_foreign) : messages.end();
        if (foreign != messages.end()) {
          problem = fmt::format("line {}: topic: the stream takes no message of this one", foreign->line);
          outcome.status = MQTTQ_EINVAL;
          return;
        }
        for (size_t i = next; i < std::min(next + kAtOnce, messages.size()); ++i) {
          const bool begun = core.import_into(*stream, messages[i].message, letters.begin(), now);
          letters.note_begun(begun);
          letters.refused += !begun;
          if (!begun) break;
        }
      });
      letters.wait();
      if (imported) *imported = letters.taken;
      if (!ran) outcome = {MQTTQ_ESHUTDOWN, kStopping};
      if (ran && letters.refused) outcome = {MQTTQ_EFULL, "the store takes no more, or one is larger than the stream"};
    }
    if (outcome.status == MQTTQ_OK) return MQTTQ_OK;
    return fail(error, outcome.status, problem.empty() ? outcome.text : std::string_view(problem));
  });
}

// --- what clients may do

void mqttq_stream_policy_init(mqttq_stream_policy* policy, size_t size) { init_struct(policy, size); }

mqttq_status mqttq_broker_set_stream_policy(mqttq_broker* broker, const mqttq_stream_policy* policy,
                                            mqttq_error* error) {
  return guard(error, [&]() -> mqttq_status {
    mqttq_stream_policy known;
    if (!read_struct(policy, known)) return fail(error, MQTTQ_EINVAL, "policy: asks for more than this library has");
    mqttq_stream_config config;
    if (!read_struct(known.auto_config, config)) {
      return fail(error, MQTTQ_EINVAL, "auto_config: asks for more than this library has");
    }
    if (known.auto_create > 1) return fail(error, MQTTQ_EINVAL, "auto_create: neither 0 nor 1");
    if (known.disconnect_on_delete > 1) return fail(error, MQTTQ_EINVAL, "disconnect_on_delete: neither 0 nor 1");
    if (config.topic_filter.size || config.key.size || config.last_value) {
      return fail(error, MQTTQ_EINVAL,
                  "auto_config: topic_filter, key and last_value are for streams that are declared");
    }
    if (broker->started) return fail(error, MQTTQ_ESTATE, "the broker was started");
    StreamPolicy& made = broker->broker->policy().streams;
    made.auto_create = known.auto_create != 0;
    made.auto_options = read_options(config);
    if (known.count_max) made.count_max = known.count_max;
    made.disconnect_on_delete = known.disconnect_on_delete != 0;
    return MQTTQ_OK;
  });
}

}  // extern "C"
