// Every metric of bleu.hpp and chrf.hpp against the numbers of sacreBLEU in tests/fixtures/sacrebleu.json.
#include <cmath>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "calm/io/sha256.hpp"
#include "calm/text/bleu.hpp"
#include "calm/text/chrf.hpp"
#include "io/temporary_folder.hpp"
#include "text/test_data.hpp"

using namespace calm;
using namespace calm::text;
using nlohmann::json;

namespace {

constexpr double tolerance = 1e-9;

const json& fixture() {
  static const json parsed = json::parse(test::contents_of(CALM_FIXTURES "/sacrebleu.json"));
  return parsed;
}

struct Pairs {
  std::vector<std::string> hypotheses;
  std::vector<References> references;
};

struct Score {
  double score;
  std::string name, signature;
};

constexpr ChrfOptions unusual{.char_order = 4, .word_order = 1, .beta = 3, .whitespace = true, .eps_smoothing = true};

template <class Refs>
Score measure(const std::string& metric, const std::vector<std::string>& hypotheses, const Refs& references) {
  if (metric.starts_with("bleu")) {
    const auto s = corpus_bleu(hypotheses, references, {.effective_order = metric == "bleu"});
    return {s.score, "BLEU", s.signature};
  }
  const auto options = metric == "chrf" ? ChrfOptions{} : metric == "chrf++" ? chrf_plus_plus : unusual;
  const auto s = corpus_chrf(hypotheses, references, options);
  return {s.score, s.name, s.signature};
}

double measure_sentence(const std::string& metric, const std::string& hypothesis, const References& references) {
  if (metric == "bleu") return sentence_bleu(hypothesis, references).score;
  if (metric == "bleu_plain") return sentence_bleu(hypothesis, references, {.effective_order = false}).score;
  return sentence_chrf(hypothesis, references,
                       metric == "chrf" ? ChrfOptions{} : metric == "chrf++" ? chrf_plus_plus : unusual)
      .score;
}

void check_sentences(const Pairs& pairs, const json& rows, std::size_t column) {
  std::size_t different = 0;
  double worst = 0;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    for (std::size_t m = 0; m < fixture()["metrics"].size(); ++m) {
      const std::string metric = fixture()["metrics"][m];
      const double expected = rows[i][column][m];
      const double found = measure_sentence(metric, pairs.hypotheses[i], pairs.references[i]);
      const double error = std::abs(found - expected);
      worst = std::max(worst, error);
      if (error <= tolerance) continue;
      if (++different <= 10) UNSCOPED_INFO(metric << " of pair " << i << ": " << found << ", sacreBLEU " << expected);
    }
  }
  CAPTURE(worst);
  CHECK(different == 0);
}

void check_corpus(const Pairs& pairs, const json& expected) {
  for (const auto& [metric, of] : expected.items()) {
    CAPTURE(metric);
    const Score found = measure(metric, pairs.hypotheses, pairs.references);
    CHECK(std::abs(found.score - of["score"].get<double>()) <= tolerance);
    CHECK(found.name == of["name"].get<std::string>());
    CHECK(found.signature == of["signature"].get<std::string>());
    if (!of.contains("bp")) continue;
    const auto bleu = corpus_bleu(pairs.hypotheses, pairs.references, {.effective_order = metric == "bleu"});
    CHECK(bleu.brevity_penalty == Approx(of["bp"].get<double>()).epsilon(1e-12));
    CHECK(bleu.counts.hypothesis_words == of["sys_len"]);
    CHECK(bleu.counts.reference_words == of["ref_len"]);
    for (std::size_t n = 0; n < bleu_order; ++n) {
      CHECK(bleu.counts.matches[n] == of["counts"][n]);
      CHECK(bleu.counts.totals[n] == of["totals"][n]);
      CHECK(bleu.precisions[n] == Approx(of["precisions"][n].get<double>()).epsilon(1e-12));
    }
  }
}

Pairs own_pairs() {
  Pairs pairs;
  for (const json& row : fixture()["own"]) {
    pairs.hypotheses.push_back(row[0]);
    pairs.references.push_back(row[1]);
  }
  return pairs;
}

/// The fields of a file of tab-separated lines.
std::vector<std::vector<std::string>> read_rows(const std::string& contents) {
  std::vector<std::vector<std::string>> rows;
  std::istringstream lines(contents);
  for (std::string line; std::getline(lines, line);) {
    if (line.empty()) continue;
    rows.emplace_back();
    std::size_t begin = 0;
    for (std::size_t end; (end = line.find('\t', begin)) != std::string::npos; begin = end + 1)
      rows.back().push_back(line.substr(begin, end - begin));
    rows.back().push_back(line.substr(begin));
  }
  return rows;
}

std::string encode(std::u32string_view text) {
  std::string out;
  const auto put = [&](char32_t byte) { out += static_cast<char>(static_cast<unsigned char>(byte)); };
  for (const char32_t c : text) {
    if (c < 0x80) { put(c); continue; }
    if (c < 0x800) put(0xC0 | c >> 6);
    else if (c < 0x10000) put(0xE0 | c >> 12), put(0x80 | (c >> 6 & 0x3F));
    else put(0xF0 | c >> 18), put(0x80 | (c >> 12 & 0x3F)), put(0x80 | (c >> 6 & 0x3F));
    put(0x80 | (c & 0x3F));
  }
  return out;
}

/// Applies the edits [begin, end, text] and [begin, end, from, to], which count code points.
std::string edited(const std::string& text, const json& edits) {
  std::u32string out = decode_utf8(text);
  for (const json& edit : edits) {
    const std::size_t begin = edit[0], end = edit[1];
    const std::u32string insertion = edit.size() == 3
                                         ? decode_utf8(edit[2].get<std::string>())
                                         : out.substr(edit[2], edit[3].get<std::size_t>() - edit[2].get<std::size_t>());
    out.replace(begin, end - begin, insertion);
  }
  return encode(out);
}

/// The pairs of real data; none if a file is missing, which is said once.
Pairs real_pairs() {
  std::vector<std::vector<std::vector<std::string>>> files;
  for (const json& file : fixture()["files"]) {
    const auto path = test::find_test_data(file[0]);
    if (!path) {
      WARN("skipped: no " << file[0] << " in the folder of test data; set CALM_TEST_DATA");
      return {};
    }
    const std::string contents = test::contents_of(*path);
    io::Sha256 digest;
    digest.update(contents.data(), contents.size());
    CAPTURE(*path);
    REQUIRE(digest.hex() == file[1].get<std::string>());
    files.push_back(read_rows(contents));
  }
  const auto at = [&](const json& place) -> const std::string& {
    return files.at(place[0]).at(place[1]).at(place[2]);
  };
  Pairs pairs;
  for (const json& row : fixture()["real"]) {
    pairs.hypotheses.push_back(edited(at(row[0]), row[1]));
    pairs.references.emplace_back();
    for (const json& place : row[2]) pairs.references.back().push_back(at(place));
  }
  return pairs;
}

}  // namespace

TEST_CASE("sacreBLEU: the version of the fixture is the one that signatures name") {
  CHECK(fixture()["sacrebleu"].get<std::string>() == sacrebleu_version);
}

TEST_CASE("sacreBLEU: pairs that meet every rule of tokenization and counting score the same") {
  const Pairs pairs = own_pairs();
  REQUIRE(pairs.hypotheses.size() >= 35);
  check_sentences(pairs, fixture()["own"], 2);
  check_corpus(pairs, fixture()["own_corpus"]);
}

TEST_CASE("sacreBLEU: 1000 corrupted sentences of real data score the same, one by one") {
  const Pairs pairs = real_pairs();
  if (pairs.hypotheses.empty()) return;
  REQUIRE(pairs.hypotheses.size() == 1000);
  check_sentences(pairs, fixture()["real"], 3);
}

TEST_CASE("sacreBLEU: corpora of real data score the same, with one reference and with several") {
  Pairs pairs = real_pairs();
  if (pairs.hypotheses.empty()) return;
  check_corpus(pairs, fixture()["real_corpus"]);
  for (References& references : pairs.references) references.resize(1);
  check_corpus(pairs, fixture()["real_single_corpus"]);

  std::size_t begin = 0;
  for (const json& expected : fixture()["real_corpora_of_50"]) {
    std::vector<std::string> hypotheses, references;  // here in the form of one reference each
    for (std::size_t i = begin; i < begin + 50; ++i) {
      hypotheses.push_back(pairs.hypotheses[i]);
      references.push_back(pairs.references[i][0]);
    }
    for (const auto& [metric, score] : expected.items()) {
      CAPTURE(metric, begin);
      CHECK(std::abs(measure(metric, hypotheses, references).score - score.get<double>()) <= tolerance);
    }
    begin += 50;
  }
}
