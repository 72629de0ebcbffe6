// The host as authenticator, authoriser and observer: questions and news become events.
#pragma once

#include <algorithm>

#include "capi/handles.h"
#include "capi/host_events.h"

namespace mqttq::capi {

class HostAccess final : public AccessControl {
 public:
  // events, broker: borrowed, outlive it.
  HostAccess(mqttq_events& events, mqttq_broker& broker, bool authenticate, bool authorize) noexcept
      : events_(events), broker_(broker), authenticate_(authenticate), authorize_(authorize) {}

  Verdict connect(const ConnectQuestion& question) noexcept override {
    if (!authenticate_) return Verdict::Allow;
    mqttq_event event{};
    event.type = MQTTQ_EVENT_AUTHENTICATE;
    event.namespace_name = broker_.namespace_name(question.namespace_id);
    event.protocol_version = static_cast<uint8_t>(question.version);
    event.client_id = bytes_of(question.client_id);
    event.has_user_name = question.user_name.has_value();
    if (question.user_name) event.user_name = bytes_of(*question.user_name);
    event.has_password = question.password.has_value();
    if (question.password) event.password = {question.password->data(), question.password->size()};
    event.address = bytes_of(question.peer_address);
    if (question.authentication_method) event.auth_method = bytes_of(*question.authentication_method);
    event.auth_data = {question.authentication_data.data(), question.authentication_data.size()};
    event.reauthentication = question.reauthentication;
    event.round = question.round;
    return ask(event, question.ticket);
  }

  bool offers(NamespaceId, std::string_view method) const noexcept override {
    const auto& offered = broker_.auth_methods;
    return authenticate_ && std::find(offered.begin(), offered.end(), method) != offered.end();
  }

  Verdict act(const ActionQuestion& question) noexcept override {
    if (!authorize_) return Verdict::Allow;
    mqttq_event event{};
    event.type = MQTTQ_EVENT_AUTHORIZE;
    event.namespace_name = broker_.namespace_name(question.namespace_id);
    event.action = static_cast<uint8_t>(question.action);
    event.qos = static_cast<uint8_t>(question.qos);
    event.retain = question.retain;
    event.client_id = bytes_of(question.client_id);
    event.user_name = bytes_of(question.user_name);
    event.topic = bytes_of(question.topic);
    return ask(event, question.ticket);
  }

 private:
  Verdict ask(mqttq_event& event, const AccessTicket& ticket) noexcept {
    event.has_reply = 1;
    ReplyAddress{ticket.shard, ticket.connection, ticket.question}.pack(event.reply);
    EventPtr block = make_event(event, {});
    return block && events_.push(ticket.shard, block) ? Verdict::Pending : Verdict::Busy;
  }

  mqttq_events& events_;
  mqttq_broker& broker_;
  const bool authenticate_, authorize_;
};

class HostObserver final : public SessionObserver {
 public:
  HostObserver(mqttq_events& events, mqttq_broker& broker, uint32_t what) noexcept
      : events_(events), broker_(broker), what_(what) {}

  void on_session_event(uint32_t shard, SessionEvent what, NamespaceId namespace_id, std::string_view client_id,
                        ReasonCode reason, std::string_view peer_address) noexcept override {
    if (!(what_ & MQTTQ_OBSERVE_SESSIONS)) return;
    static constexpr mqttq_event_type kTypes[] = {MQTTQ_EVENT_CONNECTED, MQTTQ_EVENT_DISCONNECTED,
                                                  MQTTQ_EVENT_SESSION_ENDED};
    mqttq_event event{};
    event.type = kTypes[static_cast<size_t>(what)];
    event.reason_code = static_cast<mqttq_reason_code>(reason);
    event.namespace_name = broker_.namespace_name(namespace_id);
    event.client_id = bytes_of(client_id);
    event.address = bytes_of(peer_address);
    events_.tell(shard, make_event(event, {}));
  }

  void on_message_event(uint32_t shard, MessageEvent what, std::string_view client_id,
                        const MessageView& message) noexcept override {
    mqttq_event event{};
    event.type = what == MessageEvent::Delivered ? MQTTQ_EVENT_DELIVERED : MQTTQ_EVENT_DROPPED;
    event.namespace_name = broker_.namespace_name(message.namespace_id);
    event.client_id = bytes_of(client_id);
    event.topic = bytes_of(message.topic_name);
    event.qos = static_cast<uint8_t>(message.qos);
    event.retain = message.retain;
    events_.tell(shard, make_event(event, {}));
  }

  bool wants_messages() const noexcept override { return (what_ & MQTTQ_OBSERVE_MESSAGES) != 0; }

 private:
  mqttq_events& events_;
  mqttq_broker& broker_;
  const uint32_t what_;
};

}  // namespace mqttq::capi
