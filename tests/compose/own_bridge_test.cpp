// A bridge of a user's own: what With promises it.

#include <cstddef>
#include <cstdint>
#include <string>

#include <catch2/catch.hpp>

#include "calm/compose/join_softmax.hpp"
#include "calm/compose/two_way.hpp"
#include "calm/tensor/ops/attention.hpp"
#include "calm/tensor/ops/reshape.hpp"
#include "compose/models.hpp"
#include "compose/owed.hpp"

namespace {

using namespace calm;
using namespace calm::test;

struct Lone {
  static constexpr std::size_t extent = 1;
};
struct Narrow {
  static constexpr std::size_t extent = 5;
};

/// W_O · Attention(W_Q h, W_K a, W_V a): one narrow head, no projection, nothing normalised.
struct NarrowHead {
  template <class Anchor, class Augment, class T, class Device>
  struct Bridge {
    using Query = nn::Linear<nn::Hidden<Anchor>, Narrow, T, Device, Trainable>;
    using Key = nn::Linear<nn::Hidden<Augment>, Narrow, T, Device, Trainable>;
    using Out = nn::Linear<Narrow, nn::Hidden<Anchor>, T, Device, Trainable>;
    static constexpr const char* name = "narrow head";
    static constexpr std::size_t parameter_count =
        Query::parameter_count + 2 * Key::parameter_count + Out::parameter_count;

    Query q_proj;
    Key k_proj, v_proj;
    Out o_proj;

    template <Operand H, Operand A>
    auto operator()(const H& h, const A& a, const KeyIntervals<Device>& seen) const {
      const auto heads = [](const auto& x) { return split<Narrow, Lone, Narrow>(x); };
      const auto f = attention(heads(q_proj(h)), heads(k_proj(a)), heads(v_proj(a)), seen, AttentionOptions<1>{});
      return o_proj(merge<Lone, Narrow, Narrow>(f));
    }
    void visit(auto&& v) {
      v("q_proj", q_proj);
      v("k_proj", k_proj);
      v("v_proj", v_proj);
      v("o_proj", o_proj);
    }
  };
};

/// The same with a start of its own, which is not the anchor.
struct OwnStart {
  template <class Anchor, class Augment, class T, class Device>
  struct Bridge : NarrowHead::Bridge<Anchor, Augment, T, Device> {
    static constexpr const char* name = "narrow head, started";
    void initialise(std::uint64_t seed) {
      nn::for_each_trainable(*this, [&](const std::string& path, auto& p) {
        nn::detail::assign_normal(p, {seed, nn::detail::hash(path)}, 0.5);
      });
    }
  };
};

using Anchor = SmallAnchor<double>;
using Own = With<SmallAugment<double>, LayerMap<Link<0, 1>, Link<2, 1>, Link<2, 3>>, NarrowHead>;
using Model = Compose<Anchor, Own>;
static_assert(Model::trainable_parameters == 3 * (24 * 5 + 2 * 16 * 5 + 5 * 24));
static_assert(Model::shares_prefixes);

}  // namespace

TEST_CASE("a bridge of a user's own owes what the library's do, alone and beside them") {
  check_owed<Model>();
  check_owed<Compose<Anchor, Own, With<SmallAugment<double>, SmallLinks>>>();
  check_owed<Compose<Anchor, join::Router, Own, With<SmallAugment<double>, SmallLinks>>>();
}

TEST_CASE("a bridge of a user's own reads the anchor both ways") {
  check_owed<Compose<Anchor, TwoWay<SmallAugment<double>, SmallLinks, LayerMap<Link<0, 1>>, NarrowHead>>>();
}

TEST_CASE("its start is its own where it has one, another for each link") {
  const auto s = subject<Compose<Anchor, With<SmallAugment<double>, SmallLinks, OwnStart>>>(false);
  const auto a = arrange(random_texts(2, 9, s->vocab, 3), Arrangement::right);
  CHECK(!same_bits(s->logits(a.tokens, a.layout), s->anchor_logits(a.tokens, a.layout)));
  const auto& bridges = s->model.bridges;
  CHECK(bridges[0].q_proj.weight.value()[0] != bridges[1].q_proj.weight.value()[0]);
}

TEST_CASE("its file is refused by another bridge of the same parameters") {
  const TemporaryFolder folder;
  const std::string path = folder / "bridges.safetensors";
  subject<Compose<Anchor, With<SmallAugment<double>, SmallLinks, NarrowHead>>>(true)->save(path);
  const auto other = subject<Compose<Anchor, With<SmallAugment<double>, SmallLinks, OwnStart>>>(true);
  CHECK_THROWS_WITH(other->load(path), Catch::Contains("expected narrow head, started, found narrow head"));
}
