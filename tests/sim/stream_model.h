// What must be true of streams in every run, told by those who publish and read.
//
// A reader of this model is a client that reads one stream from its beginning, alone or in a group that divides it by
// topics, and is subscribed to nothing else whose topics that stream matches. As the other models this one is careful
// where a client cannot know: what was on its way at QoS 0 when its connection broke is gone, and what it had not
// acknowledged may come again.
#pragma once

#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "model.h"
#include "stream/stream_options.h"

namespace mqttq::sim {

class Client;

class StreamModel {
 public:
  explicit StreamModel(World& world) : world_(world) {}

  // It is declared at its home. Its key is the topic.
  void declare(const std::string& name, const std::string& topic_filter, const StreamOptions& options);
  // The stream that `client` reads has what comes on this topic?
  bool reads(const Client& client, std::string_view topic_name) const;

  // --- reports of readers
  void session_began(const Client& client) { readers_.erase(&client); }
  void subscribing(const Client& client, Qos qos);
  void subscribed(const Client& client) { readers_[&client].subscribed = true; }
  void received(const Client& client, const codec::PublishView& publish);
  // One in a group sends a PUBACK.
  void acknowledging(const Client& client, uint16_t packet_id);
  // Its connection is over.
  void gone(const Client& client);
  bool is_subscribed(const Client& client) { return readers_[&client].subscribed; }

  void crashed();
  // The run is over and at rest, and all readers are there and have read to the end.
  void judge();

  uint64_t received_count() const noexcept { return received_; }
  uint64_t skipped_count() const noexcept { return skipped_; }

 private:
  struct Place {
    uint32_t message = 0;  // its id; 0: nobody has read it
    int64_t us = 0;        // 0: not known
  };
  struct Group {
    // By position, of what came to somebody: who sent its PUBACK on the connection that stands, or null.
    std::map<uint64_t, const Client*> settlers;
    std::map<const Client*, std::map<uint16_t, uint64_t>> held;  // by Packet Identifier
    std::map<std::string, uint64_t> newest;                      // by topic: behind the last that came above QoS 0
  };
  struct OneStream {
    std::string name, topic_filter;
    StreamOptions options;
    std::vector<Place> places;  // by position
    Group group = {};
  };
  struct Gap {
    uint64_t from, to;
    uint64_t told;  // that was said to be skipped
  };
  struct Reader {
    uint64_t next = 0;  // behind all that has come since it began
    Qos qos = Qos::AtMostOnce;
    bool subscribed = false;
    bool begins = false;   // it has asked to begin, and it was not seen yet that it has
    bool began = false;    // again, in this session, perhaps: what was open from before may come in between
    bool lost = false;     // a connection, since the session began
    bool crashed = false;  // a broker, since the session began
    std::vector<Gap> gaps;
    std::set<uint64_t> open_before;  // of what came again, and may have been open before it began again
    // Of one who is not told where messages stand: their ids, each once.
    std::vector<uint32_t> untold;
  };
  struct Said {                 // by a message's own properties
    bool has_position = false;  // never in 3.x
    uint64_t position = 0, skipped = 0;
    int64_t us = 0;
    std::vector<std::byte> others;
  };

  static Said read_properties(const codec::PublishView& publish);
  void learn(OneStream& stream, uint64_t position, const Published& message, const Said& said);
  bool may_be_lost(const OneStream& stream, const Reader& reader, uint64_t position) const;
  void judge_untold(const OneStream& stream, const Client& client, const Reader& reader) const;
  void received_in_group(OneStream& stream, const Client& client, const Published& message, uint64_t position,
                         const codec::PublishView& publish);
  void judge_gaps(const OneStream& stream, const Client& client, const Reader& reader) const;
  void judge_content(const OneStream& stream, const Client& client, const Published& message,
                     const codec::PublishView& publish, const Said& said) const;
  [[noreturn]] void fail(const OneStream& stream, const Client& client, uint64_t position,
                         const std::string& what) const;

  World& world_;
  std::map<std::string, OneStream> streams_;
  std::map<const Client*, Reader> readers_;
  uint64_t received_ = 0, skipped_ = 0;
};

}  // namespace mqttq::sim
