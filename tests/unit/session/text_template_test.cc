// Text with places that are filled in for one client.
#include "session/text_template.h"

#include <catch2/catch_test_macros.hpp>

#include "heap.h"

namespace mqttq {

namespace {

using Filled = TextTemplate::Filled;

std::string fill(const TextTemplate& text, const TemplateValues& values, Filled expected = Filled::Yes) {
  Array<char> out;
  CHECK(text.fill(values, out) == expected);
  return {out.begin(), out.count()};
}

}  // namespace

TEST_CASE("places are filled in, and everything else stays as it is", "[session]") {
  const std::string_view captures[] = {"one", "two"};
  CHECK(fill(TextTemplate("a/$2/${client_id}/$1x/${user_name}$", 2), {"c", "u", captures}) == "a/two/c/onex/u$");
  CHECK(fill(TextTemplate("$x/$/$$"), {}) == "$x/$/$$");
  CHECK(fill(TextTemplate("plain"), {}) == "plain");
  CHECK(TextTemplate("").empty());
  CHECK(TextTemplate("a/$1/${client_id}", 1).sample("x") == "a/x/x");
}

TEST_CASE("a place that cannot be filled in is refused as it is made", "[session]") {
  for (const char* wrong : {"${clientid}", "${client_id", "${}", "$0", "$3", "$12", "a/$99"}) {
    CHECK_THROWS_AS(TextTemplate(wrong, 2), std::invalid_argument);
  }
  CHECK_THROWS_AS(TextTemplate("$1"), std::invalid_argument);
  std::string text;
  try {
    TextTemplate("x/$3", 1);
  } catch (const std::invalid_argument& failure) {
    text = failure.what();
  }
  CHECK(text == "$3, and 1 wildcard to be named");
}

TEST_CASE("a client id or user name that would make another topic of it is not filled in", "[session]") {
  const TextTemplate of_client("in/${client_id}/#"), of_user("in/${user_name}");
  for (const char* unfit : {"", "+", "#", "a/b", "/", "a+", "x#"}) {
    fill(of_client, {unfit, "u"}, Filled::Unfit);
    fill(of_user, {"c", unfit}, Filled::Unfit);
  }
  CHECK(fill(of_client, {"$a b", ""}) == "in/$a b/#");
}

TEST_CASE("a capture of no level at all takes the slash before it along", "[session]") {
  const std::string_view none[] = {{}}, empty[] = {""};
  CHECK(fill(TextTemplate("a/$1", 1), {"", "", none}) == "a");
  CHECK(fill(TextTemplate("a/$1", 1), {"", "", empty}) == "a/");
}

TEST_CASE("filling in says so when memory is refused", "[session]") {
  const TextTemplate text("a/${client_id}");
  const FailingHeap none(0);
  Array<char> out;
  CHECK(text.fill({"c", ""}, out) == Filled::NoMemory);
}

}  // namespace mqttq
