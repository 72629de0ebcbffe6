// What every function of the C edge stands in: nothing throws across it, and failures get their text.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <limits>
#include <new>
#include <stdexcept>
#include <string_view>
#include <system_error>

#include "base/sized_struct.h"
#include "mqttq/mqttq.h"

namespace mqttq::capi {

// Fills a nullable error of the caller's, as far as its size says that it reaches, and returns its status.
inline mqttq_status fail(mqttq_error* error, mqttq_status status, std::string_view text,
                         int system_error = 0) noexcept {
  if (!error) return status;
  constexpr size_t kText = offsetof(mqttq_error, text);
  if (error->size >= offsetof(mqttq_error, system_error)) error->status = status;
  if (error->size >= kText) error->system_error = system_error;
  if (error->size > kText) {
    const size_t size = std::min({text.size(), sizeof error->text - 1, error->size - kText - 1});
    std::memcpy(error->text, text.data(), size);
    error->text[size] = '\0';
  }
  return status;
}

inline mqttq_status status_of_errno(int number) noexcept {
  switch (number) {
    case EADDRINUSE: return MQTTQ_EADDRINUSE;
    case EACCES:
    case EPERM: return MQTTQ_EACCES;
    case ENOMEM:
    case ENOBUFS: return MQTTQ_ENOMEM;
    case EINVAL: return MQTTQ_EINVAL;
    default: return MQTTQ_ESYSTEM;
  }
}

// Runs `body`, which returns a status, and turns exceptions into one.
template <class Body>
mqttq_status guard(mqttq_error* error, Body&& body) noexcept {
  try {
    return body();
  } catch (const std::bad_alloc&) {
    return fail(error, MQTTQ_ENOMEM, "out of memory");
  } catch (const std::system_error& failure) {
    const int number = failure.code().value();
    return fail(error, status_of_errno(number), failure.what(), number);
  } catch (const std::invalid_argument& failure) {
    return fail(error, MQTTQ_EINVAL, failure.what());
  } catch (const std::exception& failure) {
    return fail(error, MQTTQ_EINTERNAL, failure.what());
  } catch (...) {
    return fail(error, MQTTQ_EINTERNAL, "unknown exception");
  }
}

using mqttq::init_struct;
using mqttq::read_struct;

}  // namespace mqttq::capi
