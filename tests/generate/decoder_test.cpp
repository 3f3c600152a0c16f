#include "calm/generate/decoder.hpp"

#include <cstddef>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "generate/models.hpp"

namespace {

using namespace calm;
using namespace calm::test;
using Catch::Contains;

struct Request {
  std::size_t arrives;  // before which step
  std::vector<Index> prompt;
  GenerateOptions options;
};

/// Ten requests of different lengths, options and times.
std::vector<Request> ragged_requests() {
  std::vector<Request> requests;
  const std::size_t arrivals[]{0, 0, 1, 1, 1, 3, 4, 9, 9, 30};
  for (std::size_t r = 0; r < std::size(arrivals); ++r) {
    std::vector<Index> prompt(1 + r * 5 % 11);
    for (std::size_t t = 0; t < prompt.size(); ++t) prompt[t] = static_cast<Index>(random_below({31, r}, t, 16));
    GenerateOptions options{.max_new_tokens = 1 + r * 7 % 13, .log_probabilities = true};
    if (r % 3 == 1) options.temperature = 1.5, options.seed = r, options.top_p = 0.95;
    if (r % 4 == 2) options.end_tokens = {2, 7, 11};
    requests.push_back({arrivals[r], prompt, options});
  }
  return requests;
}

void check_same(const Completion& found, const Completion& expected) {
  CHECK(found.tokens == expected.tokens);
  CHECK(found.finish == expected.finish);
  REQUIRE(found.log_probabilities.size() == expected.log_probabilities.size());
  for (std::size_t i = 0; i < found.log_probabilities.size(); ++i) {
    CHECK(found.log_probabilities[i] == Approx(expected.log_probabilities[i]).margin(2e-5));
  }
}

}  // namespace

TEMPLATE_TEST_CASE("requests that come and go get what each gets alone", "", Llama, Gpt2, Composed, PrefixComposed,
                   EncoderComposed) {
  const auto m = make_model<TestType>();
  const auto requests = ragged_requests();
  for (const std::size_t slots : {1u, 3u, 10u}) {
    Decoder<TestType> decoder(*m, {.slots = slots, .capacity = 24});
    std::map<std::size_t, std::size_t> number;  // of a request, by its place in the list
    for (std::size_t step = 0; number.size() < requests.size(); ++step) {
      for (std::size_t r = 0; r < requests.size(); ++r) {
        if (requests[r].arrives == step) number[r] = decoder.submit(requests[r].prompt, requests[r].options);
      }
      decoder.step();
      CHECK(decoder.running() <= slots);
    }
    decoder.run();
    CHECK(decoder.running() + decoder.waiting() == 0);
    CHECK_FALSE(decoder.step());
    for (std::size_t r = 0; r < requests.size(); ++r) {
      INFO(slots << " slots, request " << r);
      const auto found = decoder.take(number.at(r));
      REQUIRE(found);
      check_same(*found, complete(*m, requests[r].prompt, requests[r].options));
      CHECK_FALSE(decoder.take(number.at(r)));
    }
  }
}

TEMPLATE_TEST_CASE("a shared prefix gives what its whole text gives", "", Llama, Gpt2, Composed) {
  const auto m = make_model<TestType>();
  Decoder<TestType> decoder(*m, {.slots = 2});
  const std::vector<Index> beginning{3, 1, 4, 1, 5, 9, 2, 6};
  const GenerateOptions options{.max_new_tokens = 9, .repetition_penalty = 1.2, .log_probabilities = true};
  const auto prefix = decoder.read(beginning);
  const Prompts rests{{5, 3}, {}, {5, 8, 9, 7, 9}, {1}, {}};
  std::vector<std::size_t> numbers;
  for (const auto& rest : rests) numbers.push_back(decoder.submit_behind(prefix, rest, options));
  numbers.push_back(decoder.submit({2, 7}, options));  // beside others
  decoder.run();
  for (std::size_t r = 0; r < rests.size(); ++r) {
    INFO("rest " << r);
    check_same(*decoder.take(numbers[r]), complete(*m, joined(beginning, rests[r]), options));
  }
  check_same(*decoder.take(numbers.back()), complete(*m, {2, 7}, options));
}

TEMPLATE_TEST_CASE("where what is kept depends on the whole prompt, whole prompts alone are shared", "", PrefixComposed,
                   EncoderComposed) {
  const auto m = make_model<TestType>();
  Decoder<TestType> decoder(*m, {.slots = 3});
  const auto prompt = decoder.read({3, 1, 4, 1, 5});
  const GenerateOptions options{.max_new_tokens = 9, .log_probabilities = true};
  for (int i = 0; i < 2; ++i) decoder.submit_behind(prompt, {}, options);
  decoder.run();
  for (std::size_t i = 0; i < 2; ++i) check_same(*decoder.take(i), complete(*m, {3, 1, 4, 1, 5}, options));
  CHECK_THROWS_WITH(decoder.submit_behind(prompt, ragged[0]),
                    Contains("3 tokens behind a shared prefix") && Contains("only whole prompts are shared"));
}

TEST_CASE("a request draws from the stream that it names") {
  const auto m = make_model<Composed>();
  const GenerateOptions options{.max_new_tokens = 12, .temperature = 2, .seed = 3};
  const auto batch = generate(*m, std::span(ragged), options);
  Decoder<Composed> decoder(*m, {.slots = 2});
  for (std::size_t b = 0; b < ragged.size(); ++b) decoder.submit(ragged[b], options, b);
  decoder.run();
  for (std::size_t b = 0; b < ragged.size(); ++b) CHECK(decoder.take(b)->tokens == batch[b]);
}

TEST_CASE("a callback hears a request's number, and a text that it ends leaves its slot") {
  const auto m = make_model<Llama>();
  Decoder<Llama> decoder(*m, {.slots = 1});
  std::vector<std::size_t> heard;
  const GenerateOptions options{.max_new_tokens = 20, .on_token = [&](const TokenEvent& e) {
                                  heard.push_back(e.text);
                                  return e.place < e.text;
                                }};
  for (std::size_t r = 0; r < 3; ++r) decoder.submit({1, 2}, options);
  decoder.run();
  CHECK(heard == std::vector<std::size_t>{0, 1, 1, 2, 2, 2});
  CHECK(decoder.take(2)->finish == Finish::caller);
  CHECK(decoder.take(2) == std::nullopt);
}

TEST_CASE("what a decoder cannot hold is refused when it is submitted, and harms no other request") {
  const auto m = make_model<Composed>();
  using D = Decoder<Composed>;
  CHECK_THROWS_WITH(D(*m, {.slots = 0}), "calm::Decoder: 0 slots; expected at least one");
  CHECK_THROWS_WITH(D(*m, {.capacity = 33}), Contains("a capacity of 33 tokens; the model's context is 32"));
  D decoder(*m, {.slots = 2, .capacity = 8});
  const auto kept = decoder.submit({1, 2, 3}, {.max_new_tokens = 6});
  CHECK_THROWS_WITH(decoder.submit({}, {}), "calm::Decoder: the prompt is empty; expected at least one token");
  CHECK_THROWS_WITH(decoder.submit({1, 2, 3}, {.max_new_tokens = 7}),
                    Contains("the prompt has 3 tokens and 7 new ones are asked for; a slot holds 8 tokens"));
  CHECK_THROWS_WITH(decoder.submit(std::vector<Index>(40, 1), {.max_new_tokens = 1}),
                    Contains("the prompt has 40 tokens") && Contains("the model's context is 32"));
  CHECK_THROWS_WITH(decoder.submit({1, 16}, {.max_new_tokens = 1}),
                    "calm::Decoder: token 16 at [1] is outside the vocabulary of 16");
  CHECK_THROWS_WITH(decoder.submit({1}, {.max_new_tokens = 1, .top_p = 2}), Contains("top_p is 2.0"));
  CHECK_THROWS_WITH(decoder.take(1), "calm::Decoder: request 1 was never submitted; there were 1");
  const auto other = make_model<Composed>();
  const auto foreign = D(*other, {.slots = 1}).read({1});
  CHECK_THROWS_WITH(decoder.submit_behind(foreign, {}), Contains("the prefix was not read by this decoder's model"));
  CHECK_THROWS_WITH(decoder.submit_behind(nullptr, {}), Contains("read it with Decoder::read"));
  CHECK(decoder.take(decoder.submit({1}, {.max_new_tokens = 0}))->tokens.empty());
  decoder.run();
  CHECK(decoder.take(kept)->tokens == generate(*m, {1, 2, 3}, {.max_new_tokens = 6}));
}
