#include "url.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <sys/un.h>

#include <algorithm>
#include <charconv>
#include <iterator>

namespace mqttq::server {

namespace {

constexpr std::string_view kTcp = "tcp://";
constexpr std::string_view kWebSocket = "ws://";
constexpr std::string_view kUnix = "unix://";
constexpr std::string_view kExpected = "tcp://HOST:PORT, ws://HOST:PORT/PATH or unix:///PATH";
constexpr std::string_view kDefaultPath = "/mqtt";

struct LeftOut {
  std::string_view scheme;
  std::string_view feature;
};
constexpr LeftOut kLeftOut[] = {{"tls://", "TLS"}, {"wss://", "WebSocket over TLS"}, {"quic://", "QUIC"}};

// HOST of "HOST:PORT" without the brackets of IPv6; empty if `address` is not of that form.
std::string host_of(std::string_view address) {
  const size_t colon = address.rfind(':');
  if (colon == std::string_view::npos) return {};
  std::string_view host = address.substr(0, colon);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') return std::string(host.substr(1, host.size() - 2));
  return host.find(':') == std::string_view::npos ? std::string(host) : std::string();
}

bool is_port(std::string_view text) {
  uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  return error == std::errc() && end == text.data() + text.size() && !text.empty();
}

std::string tcp_fault(std::string_view scheme, std::string_view address) {
  const std::string host = host_of(address);
  const bool v6 = address.starts_with('[');
  unsigned char parsed[sizeof(in6_addr)];
  if (host.empty() || !is_port(address.substr(address.rfind(':') + 1))) {
    return fmt::format("expected {0}HOST:PORT with a port from 0 to 65535, found \"{0}{1}\"", scheme, address);
  }
  // Names are not looked up: what a name stands for may change while the socket does not.
  if ((v6 || host != "localhost") && inet_pton(v6 ? AF_INET6 : AF_INET, host.c_str(), parsed) != 1) {
    return fmt::format("expected an IPv4 address, an IPv6 address in brackets or localhost, found \"{}\"", host);
  }
  return {};
}

std::string websocket_fault(std::string_view url) {
  const std::string path = path_of(url);
  if (std::any_of(path.begin(), path.end(), [](char c) { return c <= ' ' || c > '~' || c == '?' || c == '#'; })) {
    return fmt::format("expected ws://HOST:PORT/PATH with a path in visible ASCII without '?' and '#', found \"{}\"",
                       url);
  }
  return tcp_fault(kWebSocket, address_of(url));
}

std::string unix_fault(std::string_view path) {
  if (!path.starts_with('/') || path.ends_with('/')) {
    return fmt::format("expected unix:///PATH, found \"unix://{}\"", path);
  }
  constexpr size_t kPathSizeMax = sizeof(sockaddr_un::sun_path) - 1;
  if (path.size() > kPathSizeMax) return fmt::format("the path of a Unix socket has at most {} bytes", kPathSizeMax);
  return {};
}

}  // namespace

std::string url_fault(std::string_view url) {
  if (url.starts_with(kTcp)) return tcp_fault(kTcp, url.substr(kTcp.size()));
  if (url.starts_with(kWebSocket)) return websocket_fault(url);
  if (url.starts_with(kUnix)) return unix_fault(url.substr(kUnix.size()));
  for (const auto& [scheme, feature] : kLeftOut) {
    if (url.starts_with(scheme)) return fmt::format("this build has no {}; expected {}", feature, kExpected);
  }
  return fmt::format("expected {}, found \"{}\"", kExpected, url);
}

std::string_view address_of(std::string_view url) {
  if (url.starts_with(kUnix)) return url.substr(kUnix.size());
  if (url.starts_with(kTcp)) return url.substr(kTcp.size());
  url.remove_prefix(kWebSocket.size());
  return url.substr(0, url.find('/'));
}

std::string path_of(std::string_view url) {
  if (!url.starts_with(kWebSocket)) return {};
  const size_t slash = url.find('/', kWebSocket.size());
  return std::string(slash == url.npos ? kDefaultPath : url.substr(slash));
}

std::string bound_url(std::string_view url, std::string_view bound_address) {
  const std::string_view scheme = url.starts_with(kUnix) ? kUnix : url.starts_with(kTcp) ? kTcp : kWebSocket;
  return fmt::format("{}{}{}", scheme, bound_address, path_of(url));
}

bool is_local(std::string_view url) {
  if (url.starts_with(kUnix)) return true;
  const std::string host = host_of(address_of(url));
  in6_addr v6;
  if (inet_pton(AF_INET6, host.c_str(), &v6) == 1) return IN6_IS_ADDR_LOOPBACK(&v6);
  return host == "localhost" || host.starts_with("127.");
}

}  // namespace mqttq::server
