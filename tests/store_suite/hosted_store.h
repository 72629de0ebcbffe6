// A host in the program: a store of ours behind the table of mqttq/store.h, so that the suite goes through both doors.
#pragma once

#include <memory>

#include "store/store.h"

namespace mqttq {

// When the host answers a batch.
enum class Answers {
  AtOnce,  // before commit() returns
  Later,   // from a thread of its own
  Either,  // some at once, some from the thread: those are carried out there, or have been already
};

// inner: taken.
std::unique_ptr<Store> hosted(std::unique_ptr<Store> inner, Answers answers);

}  // namespace mqttq
