/// \file  Continuous batching: requests come at any time, are decoded together, and leave as they end.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "calm/generate/continuation.hpp"
#include "calm/generate/options.hpp"
#include "calm/generate/prompts.hpp"
#include "calm/generate/reading.hpp"
#include "calm/generate/token_step.hpp"
#include "calm/nn/kv_cache.hpp"

namespace calm {

/// The room that a Decoder has.
struct DecoderOptions {
  std::size_t slots = 8;     ///< how many texts are decoded together; the caches of all are allocated at once
  std::size_t capacity = 0;  ///< tokens that a slot has room for; 0: the model's context
};

/// What a model keeps of the beginning of prompts, computed once and copied for each request that begins with it.
template <class Model>
struct PromptCache {
  const Model* model;
  std::vector<Index> tokens;
  typename Model::Caches caches;                   ///< of one text
  std::vector<typename Model::value_type> logits;  ///< behind the last token, [Vocab]
};

/// Decodes requests in a fixed number of slots.
///
/// Each `step` reads the prompts of waiting requests into free slots, all in one pass, and then one token of every text
/// that stands in a slot. A request's output is what `generate` gives for it alone, whatever stands beside it and
/// whenever it comes. The model must outlive the decoder and not change meanwhile.
template <class Model>
class Decoder {
 public:
  using Id = std::size_t;
  using Prefix = std::shared_ptr<const PromptCache<Model>>;
  static constexpr std::size_t vocab = Model::spec::config.vocab;
  static constexpr std::size_t context = Model::spec::config.context;

  /// Throws `Error` for no slots, or for more room than the model's context.
  explicit Decoder(const Model& model, const DecoderOptions& options = {})
      : model_(&model), capacity_(checked_capacity(options)), caches_(model.make_caches(options.slots, capacity_)),
        slots_(options.slots) {}

  /// A request, numbered from 0. It draws from random stream `stream` of its options' seed. Throws `Error` for options
  /// or tokens that mean nothing, an empty prompt, or one that with its new tokens does not fit into a slot.
  Id submit(std::vector<Index> prompt, GenerateOptions options = {}, std::uint64_t stream = 0) {
    return submit_shared(std::move(prompt), std::make_shared<const GenerateOptions>(std::move(options)), stream);
  }
  /// The same with options that many requests share, the state of their functions included.
  Id submit_shared(std::vector<Index> prompt, std::shared_ptr<const GenerateOptions> options,
                   std::uint64_t stream = 0) {
    return enqueue(std::move(prompt), nullptr, std::move(options), stream);
  }
  /// A request whose prompt is that of `prefix` with `rest` behind it, which may be empty. Throws `Error` besides if
  /// another model read the prefix, or if of this composition only a whole prompt can be shared.
  Id submit_behind(const Prefix& prefix, std::span<const Index> rest, GenerateOptions options = {},
                   std::uint64_t stream = 0) {
    detail::require(prefix && prefix->model == model_, [] {
      return std::string("calm::Decoder: the prefix was not read by this decoder's model; read it with Decoder::read");
    });
    detail::require(Model::shares_prefixes || rest.empty(), [&] {
      return "calm::Decoder: " + std::to_string(rest.size()) + " tokens behind a shared prefix; what this composition "
             "keeps of a prompt (its mask is prefix or encoder, or an augment has a tokenizer of its own) depends on "
             "all of it, so only whole prompts are shared";
    });
    std::vector<Index> prompt = prefix->tokens;
    prompt.insert(prompt.end(), rest.begin(), rest.end());
    return enqueue(std::move(prompt), prefix, std::make_shared<const GenerateOptions>(std::move(options)), stream);
  }

  /// Reads the beginning of prompts, for `submit_behind`. Throws `Error` as `submit`.
  Prefix read(const std::vector<Index>& tokens) const {
    check(tokens, {.max_new_tokens = 1});
    PromptCache<Model> made{model_, tokens, nn::empty_caches(caches_, 1, tokens.size()), {}};
    const detail::Reading reading{made.tokens, 0, made.tokens.size()};
    const auto logits = detail::read_texts(*model_, std::span(&reading, 1), made.caches);
    made.logits.assign(logits.data(), logits.data() + vocab);
    return std::make_shared<const PromptCache<Model>>(std::move(made));
  }

  /// Lets waiting requests in, then adds a token to each text. False if there was nothing to do.
  bool step() {
    const bool joined = join(), decoded = decode();
    return joined || decoded;
  }
  /// Steps until every request has ended.
  void run() {
    while (step()) {
    }
  }

  /// What came of a request, once; nothing while it waits or runs, or when it was taken before. Throws `Error` for a
  /// number that `submit` has not given.
  std::optional<Completion> take(Id id) {
    detail::require(id < next_id_, [&] {
      return "calm::Decoder: request " + std::to_string(id) + " was never submitted; there were " +
             std::to_string(next_id_);
    });
    auto found = finished_.extract(id);
    if (found.empty()) return std::nullopt;
    return std::move(found.mapped());
  }

  std::size_t slots() const { return slots_.size(); }
  std::size_t waiting() const { return waiting_.size(); }
  /// How many texts stand in slots.
  std::size_t running() const {
    return static_cast<std::size_t>(
        std::count_if(slots_.begin(), slots_.end(), [](const auto& slot) { return slot.has_value(); }));
  }

 private:
  struct Request {
    detail::Continuation text;
    Prefix prefix;
  };

  static std::size_t checked_capacity(const DecoderOptions& options) {
    detail::require(options.slots > 0, [] { return std::string("calm::Decoder: 0 slots; expected at least one"); });
    detail::require(options.capacity <= context, [&] {
      return "calm::Decoder: a capacity of " + std::to_string(options.capacity) + " tokens; the model's context is " +
             std::to_string(context);
    });
    return options.capacity == 0 ? context : options.capacity;
  }

  Id enqueue(std::vector<Index> prompt, Prefix prefix, std::shared_ptr<const GenerateOptions> options,
             std::uint64_t stream) {
    check(prompt, *options);
    detail::Continuation text(next_id_, std::move(prompt), options, stream);
    if (options->max_new_tokens == 0)
      finished_.emplace(next_id_, std::move(text).completion());
    else
      waiting_.push_back({std::move(text), std::move(prefix)});
    return next_id_++;
  }

  void check(std::span<const Index> prompt, const GenerateOptions& options) const {
    detail::check_options(options, vocab);
    detail::check_prompt_size("calm::Decoder: the prompt", prompt.size(), options.max_new_tokens, capacity_, [&] {
      return "a slot holds " + std::to_string(capacity_) + " tokens and the model's context is " +
             std::to_string(context);
    });
    detail::check_tokens("calm::Decoder", prompt, vocab, [](std::size_t i) { return "[" + std::to_string(i) + "]"; });
  }

  // Fills free slots. Where all are filled at once the prompts are read in place, else beside and copied in, so that a
  // pass over long prompts is not as wide as all slots.
  bool join() {
    std::vector<std::size_t> free;
    for (std::size_t s = 0; s < slots_.size() && free.size() < waiting_.size(); ++s) {
      if (!slots_[s]) free.push_back(s);
    }
    if (free.empty()) return false;
    const std::size_t count = free.size();
    std::vector<Request> joining;
    std::size_t longest = 0;
    for (std::size_t i = 0; i < count; ++i) {
      joining.push_back(std::move(waiting_.front()));
      waiting_.pop_front();
      longest = std::max(longest, joining[i].text.prompt_size());
    }
    const bool in_place = count == slots_.size();
    auto beside = in_place ? typename Model::Caches{} : nn::empty_caches(caches_, count, longest);
    auto& caches = in_place ? caches_ : beside;
    const auto logits = read_prompts(joining, caches);
    for (std::size_t i = 0; i < count; ++i) {
      if (!in_place) nn::copy_text(caches, i, joining[i].text.prompt_size(), caches_, free[i]);
      const auto* cached = joining[i].prefix ? &joining[i].prefix->logits : nullptr;
      const bool whole = cached && joining[i].prefix->tokens.size() == joining[i].text.prompt_size();
      slots_[free[i]] = std::move(joining[i].text);
      advance(free[i], whole ? cached->data() : logits.data() + i * vocab);
    }
    return true;
  }

  auto read_prompts(const std::vector<Request>& joining, typename Model::Caches& caches) const {
    std::vector<detail::Reading> readings(joining.size());
    bool anything = false;
    for (std::size_t i = 0; i < joining.size(); ++i) {
      const auto& [text, prefix] = joining[i];
      const std::size_t shared = prefix ? prefix->tokens.size() : 0;
      if (prefix) nn::copy_text(prefix->caches, 0, shared, caches, i);
      readings[i] = {text.text().subspan(shared), shared, text.prompt_size()};
      anything = anything || !readings[i].tokens.empty();
    }
    using Logits = decltype(detail::read_texts(*model_, std::span<const detail::Reading>(readings), caches));
    return anything ? detail::read_texts(*model_, std::span<const detail::Reading>(readings), caches) : Logits();
  }

  bool decode() {
    std::vector<detail::Reading> readings(slots_.size());
    bool anything = false;
    for (std::size_t s = 0; s < slots_.size(); ++s) {
      if (!slots_[s]) continue;
      const auto text = slots_[s]->text();
      readings[s] = {text.last(1), text.size() - 1, slots_[s]->prompt_size(), slots_[s]->draw()};
      anything = true;
    }
    if (!anything) return false;
    step_.read(*model_, readings, caches_);
    for (std::size_t s = 0; s < slots_.size(); ++s) {
      if (!slots_[s]) continue;
      if (slots_[s]->only_most_likely())
        leave_if_ended(s, slots_[s]->advance(step_.most_likely(s)));
      else if (const kernel::Drawn* const drawn = readings[s].draw ? step_.drawn(s) : nullptr)
        leave_if_ended(s, slots_[s]->advance(*drawn));
      else
        advance(s, step_.logits(s));
    }
    return true;
  }

  void advance(std::size_t slot, const typename Model::value_type* logits) {
    leave_if_ended(slot, slots_[slot]->advance(logits, vocab));
  }
  // A text that ends leaves its slot.
  void leave_if_ended(std::size_t slot, bool goes_on) {
    if (goes_on) return;
    auto& text = *slots_[slot];
    finished_.emplace(text.name(), std::move(text).completion());
    slots_[slot].reset();
  }

  const Model* model_;
  std::size_t capacity_;
  typename Model::Caches caches_;
  detail::TokenStep<Model> step_;
  std::vector<std::optional<detail::Continuation>> slots_;
  std::deque<Request> waiting_;
  std::map<Id, Completion> finished_;
  Id next_id_ = 0;
};

}  // namespace calm
