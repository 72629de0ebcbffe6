// The URLs of listeners: `tcp://HOST:PORT`, `ws://HOST:PORT/PATH` and `unix:///PATH`, and those that this build
// understands but has not.
#pragma once

#include <string>
#include <string_view>

namespace mqttq::server {

// What is wrong with `url`, as a text that goes on after a colon; empty if this build can listen on it.
std::string url_fault(std::string_view url);

// What the library calls the address of a URL without fault: "127.0.0.1:1883", "/run/mqttq.sock". A view into `url`.
std::string_view address_of(std::string_view url);

// The path of a ws:// URL without fault, "/mqtt" where it names none; empty of any other.
std::string path_of(std::string_view url);

// The same the other way: where a listener of `url` is bound, as a URL.
std::string bound_url(std::string_view url, std::string_view bound_address);

// Whether only this machine can reach a URL without fault: a loopback address or a Unix socket.
bool is_local(std::string_view url);

}  // namespace mqttq::server
