#include "base/alloc.h"

#include <cstdlib>

namespace mqttq {

void* allocate(size_t size) noexcept { return std::malloc(size); }
void* reallocate(void* block, size_t size) noexcept { return std::realloc(block, size); }
void release(void* block) noexcept { std::free(block); }

}  // namespace mqttq
