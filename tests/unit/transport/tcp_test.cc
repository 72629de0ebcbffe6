// Addresses and listening sockets.
#include "transport/tcp.h"

#include <netinet/in.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <cerrno>
#include <cstdlib>
#include <string>

namespace mqttq {

namespace {

// What an address reads as when it is written again; empty when it is not understood.
std::string again(std::string_view text) {
  sockaddr_storage address;
  if (!parse_address(text, address)) return {};
  char out[sizeof(sockaddr_un)];
  return std::string(out, format_address(address, out));
}

struct Socket {
  explicit Socket(int of) : descriptor(of) {}
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  ~Socket() {
    if (descriptor >= 0) ::close(descriptor);
  }
  const int descriptor;
};

// A directory of its own, removed with what was made in it.
struct Folder {
  Folder() { REQUIRE(::mkdtemp(path.data())); }
  ~Folder() {
    ::unlink(file().c_str());
    ::rmdir(path.c_str());
  }
  std::string file() const { return path + "/socket"; }
  std::string path = "/tmp/mqttq-test-XXXXXX";
};

}  // namespace

TEST_CASE("addresses are read and written", "[transport]") {
  CHECK(again("127.0.0.1:1883") == "127.0.0.1:1883");
  CHECK(again("0.0.0.0:0") == "0.0.0.0:0");
  CHECK(again("localhost:65535") == "127.0.0.1:65535");
  CHECK(again("[::1]:1883") == "[::1]:1883");
  CHECK(again("[::]:0") == "[::]:0");
  CHECK(again("[0:0:0:0:0:0:0:1]:80") == "[::1]:80");
  CHECK(again("/run/mqttq.sock") == "/run/mqttq.sock");
  CHECK(again("./mqttq.sock") == "./mqttq.sock");
  const std::string longest = "/" + std::string(sizeof(sockaddr_un::sun_path) - 2, 'x');
  CHECK(again(longest) == longest);
}

TEST_CASE("what is no address is not understood", "[transport]") {
  for (const char* text : {"", ":", "1883", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536", "127.0.0.1:-1",
                           "127.0.0.1:123456", "256.0.0.1:1", "::1:1883", "[::1]", "[::1:1883", "::1]:1883", "[]:1",
                           "name.of.nobody:1883", "127.0.0.1 :1883", "[127.0.0.1]:1883", ":1883"}) {
    CHECK(again(text).empty());
  }
  CHECK(again("/" + std::string(sizeof(sockaddr_un::sun_path) - 1, 'x')).empty());
  CHECK(again("[" + std::string(200, '1') + "]:1").empty());
  CHECK(again(std::string(200, '1') + ":1").empty());
}

TEST_CASE("an address is cut off to what there is room for", "[transport]") {
  sockaddr_storage address;
  REQUIRE(parse_address("127.0.0.1:1883", address));
  char out[6];
  CHECK(std::string(out, format_address(address, out)) == "127.0");
}

TEST_CASE("a port in use is seen, and further sockets of the same listener join it", "[transport]") {
  sockaddr_storage address;
  socklen_t size = parse_address("127.0.0.1:0", address);
  const ListenSocket first = listen_on(address, size, false);
  const Socket first_socket(first.descriptor);
  REQUIRE(first.descriptor >= 0);
  size = sizeof address;
  REQUIRE(::getsockname(first.descriptor, reinterpret_cast<sockaddr*>(&address), &size) == 0);
  REQUIRE(reinterpret_cast<const sockaddr_in&>(address).sin_port != 0);

  const ListenSocket another = listen_on(address, size, false);
  const Socket another_socket(another.descriptor);
  CHECK(another.descriptor < 0);
  CHECK(another.error == EADDRINUSE);

  const ListenSocket second = listen_on(address, size, true), third = listen_on(address, size, true);
  const Socket second_socket(second.descriptor), third_socket(third.descriptor);
  CHECK(second.descriptor >= 0);
  CHECK(third.descriptor >= 0);

  const Socket client(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  CHECK(::connect(client.descriptor, reinterpret_cast<const sockaddr*>(&address), size) == 0);
}

TEST_CASE("a Unix-domain socket that was left behind is taken over, and one in use is not", "[transport]") {
  const Folder folder;
  sockaddr_storage address;
  const socklen_t size = parse_address(folder.file(), address);
  REQUIRE(size);
  {
    const Socket first(listen_on(address, size, false).descriptor);
    REQUIRE(first.descriptor >= 0);
    const ListenSocket second = listen_on(address, size, false);
    const Socket second_socket(second.descriptor);
    CHECK(second.descriptor < 0);
    CHECK(second.error == EADDRINUSE);
  }
  const Socket again_socket(listen_on(address, size, false).descriptor);
  CHECK(again_socket.descriptor >= 0);
}

TEST_CASE("a file that is no socket is left alone", "[transport]") {
  const Folder folder;
  FILE* file = std::fopen(folder.file().c_str(), "w");
  REQUIRE(file);
  std::fputs("precious", file);
  std::fclose(file);
  sockaddr_storage address;
  const socklen_t size = parse_address(folder.file(), address);
  const ListenSocket listener = listen_on(address, size, false);
  const Socket socket(listener.descriptor);
  CHECK(listener.error == EADDRINUSE);
  struct stat found;
  REQUIRE(::lstat(folder.file().c_str(), &found) == 0);
  CHECK(found.st_size == 8);
}

}  // namespace mqttq
