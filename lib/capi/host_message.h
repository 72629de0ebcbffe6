// What a host says of a message, as one of ours.
#pragma once

#include "message/message.h"
#include "mqttq/message.h"

namespace mqttq::capi {

// view: its publisher and when it expires; the rest is the config's. out: empty without memory. Returns what is wrong
// with it, and then it is none, or nullptr. Throws std::bad_alloc.
const char* make_message(const mqttq_message_config& config, MessageView view, MessageRef& out);

}  // namespace mqttq::capi
