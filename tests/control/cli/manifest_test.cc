#include "control/cli/manifest.h"

#include <fstream>
#include <sstream>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "net/status.h"

namespace podwire::cli {
namespace {

using nlohmann::json;
using testing::HasSubstr;

/// The single object of `text`, which is given kind X.
json Parse(const std::string& text) {
  auto manifests = ParseManifests("kind: X\n" + text, "f.yaml");
  if (!manifests.ok()) {
    ADD_FAILURE() << manifests.status();
    return nullptr;
  }
  if (manifests->size() != 1) {
    ADD_FAILURE() << manifests->size() << " objects";
    return nullptr;
  }
  json object = (*manifests)[0].json;
  object.erase("kind");
  return object;
}

std::string ErrorOf(const std::string& text) {
  const auto manifests = ParseManifests(text, "f.yaml");
  return manifests.ok() ? "no error" : Message(manifests.status());
}

TEST(Manifest, PlainScalarsHaveTheCoreSchemasTypes) {
  EXPECT_EQ(Parse("v: [true, False, null, ~, 80, -3, 0x1F, 0o17, 1.5, 1e3, .5, 010, +7]"),
            (json{{"v", {true, false, nullptr, nullptr, 80, -3, 31, 15, 1.5, 1000.0, 0.5, 10, 7}}}));
}

TEST(Manifest, OtherPlainScalarsAreStrings) {
  EXPECT_EQ(
      Parse("v: [yes, on, 10.244.0.0/16, 1.2.3.4, 2026-01-02, 0x, 1e, '', -, 12:30, tRUE, 0o9, 1_000]")["v"],
      (json{"yes", "on", "10.244.0.0/16", "1.2.3.4", "2026-01-02", "0x", "1e", "", "-", "12:30", "tRUE",
            "0o9", "1_000"}));
}

TEST(Manifest, QuotedScalarsAreStrings) {
  EXPECT_EQ(
      Parse("a: \"80\"\nb: 'true'\nc: \"null\"\nd: ''\ne: |\n  80\nf: !!str 80\ng: ! 80"),
      (json{{"a", "80"}, {"b", "true"}, {"c", "null"}, {"d", ""}, {"e", "80\n"}, {"f", "80"}, {"g", "80"}}));
}

TEST(Manifest, ExplicitTagsMustFit) {
  EXPECT_EQ(Parse("a: !!int \"80\"\nb: !!float 1.5\nc: !!bool true"),
            (json{{"a", 80}, {"b", 1.5}, {"c", true}}));
  EXPECT_THAT(ErrorOf("kind: X\na: !!int web"),
              HasSubstr("f.yaml:2: tag tag:yaml.org,2002:int does not fit \"web\""));
  EXPECT_THAT(ErrorOf("kind: X\na: !secret web"), HasSubstr("f.yaml:2: tag"));
  EXPECT_THAT(ErrorOf("kind: X\na: !set {b}"), HasSubstr("is not known"));
}

TEST(Manifest, LargeNumbersKeepTheirValue) {
  EXPECT_EQ(Parse("v: [18446744073709551615, -9223372036854775808]")["v"],
            (json{18446744073709551615u, INT64_MIN}));
  EXPECT_TRUE(Parse("v: 18446744073709551616")["v"].is_number_float());
  EXPECT_THAT(ErrorOf("kind: X\nv: 1e999"), HasSubstr("f.yaml:2: 1e999: the number is too large"));
  EXPECT_THAT(ErrorOf("kind: X\nv: .inf"), HasSubstr("not a number that JSON has"));
}

TEST(Manifest, KeysAreText) {
  EXPECT_EQ(Parse("80: a\ntrue: b\nnull: c"), (json{{"80", "a"}, {"true", "b"}, {"null", "c"}}));
}

TEST(Manifest, AnchorsAliasesAndMergeKeys) {
  EXPECT_EQ(Parse("base: &b {x: 1, y: 2}\nuse: {<<: *b, y: 3}\nlist: {<<: [{x: 5}, *b], z: *b}\n&k key: *k"),
            (json{{"base", {{"x", 1}, {"y", 2}}},
                  {"use", {{"x", 1}, {"y", 3}}},
                  {"list", {{"x", 5}, {"y", 2}, {"z", {{"x", 1}, {"y", 2}}}}},
                  {"key", "key"}}));
  EXPECT_EQ(Parse("\"<<\": plain")["<<"], "plain") << "quoted, it is an ordinary key";
  EXPECT_THAT(ErrorOf("kind: X\n<<: 3"), HasSubstr("f.yaml:2: \"<<\" takes a map"));
  EXPECT_THAT(ErrorOf("kind: X\na: &a [*a]"), HasSubstr("f.yaml:2: an alias within the value that it names"));
  EXPECT_THAT(ErrorOf("kind: X\na: *nope"), HasSubstr("f.yaml:2: not valid YAML"));
}

TEST(Manifest, AliasesCannotBlowUp) {
  std::string bomb = "kind: X\na0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]\n";
  for (int i = 1; i < 12; ++i) {
    bomb += fmt::format("a{}: &a{} [", i, i);
    for (int j = 0; j < 10; ++j) bomb += fmt::format("{}*a{}", j == 0 ? "" : ", ", i - 1);
    bomb += "]\n";
  }
  EXPECT_THAT(ErrorOf(bomb), HasSubstr("MB with its aliases expanded"));
}

TEST(Manifest, DepthIsBounded) {
  for (const int depth : {200, 5000, 200000}) {
    const std::string open(depth, '['), close(depth, ']');
    EXPECT_THAT(ErrorOf("kind: X\na: " + open + close), HasSubstr("f.yaml:2: ")) << depth;
    EXPECT_THAT(ErrorOf("{\"kind\": \"X\", \"a\":\n" + open + close + "}"),
                HasSubstr("f.yaml:2: nested deeper"))
        << depth;
  }
}

TEST(Manifest, DuplicateKeysAreErrorsWithTheirLine) {
  EXPECT_EQ(ErrorOf("kind: X\nmetadata:\n  name: a\n  name: b\n"), "f.yaml:4: key \"name\" is given twice");
  EXPECT_EQ(ErrorOf("{\"kind\": \"X\",\n\"a\": 1,\n\"a\": 2}"), "f.yaml:3: key \"a\" is given twice");
}

TEST(Manifest, BadSyntaxNamesTheLine) {
  EXPECT_THAT(ErrorOf("kind: X\nspec:\n  a: b\n c: d\n"), HasSubstr("f.yaml:4: not valid YAML"));
  EXPECT_THAT(ErrorOf("kind: X\n---\nkind: [\n"), HasSubstr("f.yaml:"));
  EXPECT_THAT(ErrorOf("{\"kind\": \"X\",\n \"a\": }"), HasSubstr("f.yaml:2: not valid JSON"));
  EXPECT_THAT(ErrorOf("{\"kind\": \"X\""), HasSubstr("not valid JSON"));
  EXPECT_THAT(ErrorOf("kind: X\n[a]: b"), HasSubstr("f.yaml:2: a map or list cannot be a key"));
  EXPECT_THAT(ErrorOf(",:::ec: {c: [{p: 80}]}}\n- <<: *p\n  kind: N\n---\nkind: X\n"),
              HasSubstr("not valid YAML"));
  EXPECT_THAT(ErrorOf("just words"), HasSubstr("f.yaml:1: not a Kubernetes object"));
  EXPECT_THAT(ErrorOf("metadata: {name: a}"), HasSubstr("f.yaml:1: kind: missing"));
}

TEST(Manifest, TextIsUtf8) {
  EXPECT_EQ(ErrorOf("kind: X\na: \"\xff\""), "f.yaml:2: not valid UTF-8");
  EXPECT_EQ(ErrorOf("kind: X\na\xc3: b"), "f.yaml:2: not valid UTF-8");
  EXPECT_THAT(ErrorOf("{\"kind\": \"\xff\"}"), HasSubstr("f.yaml:1: not valid JSON"));
  EXPECT_EQ(Parse("a: \xC3\xA9\nb: \"\\xe9\"")["a"], Parse("b: \"\\xe9\"")["b"]);
}

TEST(Manifest, ManyDocumentsWithTheirLines) {
  const auto manifests = ParseManifests(
      "# nothing\n---\n---\nkind: A\n---\n\n\nkind: B\nmetadata: {name: b, namespace: n}\n...\n---\n",
      "f.yaml");
  ASSERT_TRUE(manifests.ok()) << manifests.status();
  ASSERT_EQ(manifests->size(), 2u);
  EXPECT_EQ((*manifests)[0].Where(), "f.yaml:4");
  EXPECT_EQ((*manifests)[1].Where(), "f.yaml:8");
  EXPECT_EQ((*manifests)[1].kind(), "B");
  EXPECT_EQ((*manifests)[1].name(), "b");
  EXPECT_EQ((*manifests)[1].object_namespace(), "n");
}

TEST(Manifest, JsonStreams) {
  const auto manifests = ParseManifests(
      "\xEF\xBB\xBF{\"kind\": \"A\", \"s\": "
      "\"\\ud83d\\ude00\\/\"}\n{\"kind\":\n\"B\"}\n---\n{\"kind\":\"C\"}",
      "f.json");
  ASSERT_TRUE(manifests.ok()) << manifests.status();
  ASSERT_EQ(manifests->size(), 3u);
  EXPECT_EQ((*manifests)[0].json["s"], "\U0001F600/");
  EXPECT_EQ((*manifests)[1].Where(), "f.json:2");
  EXPECT_EQ((*manifests)[2].kind(), "C");
}

TEST(Manifest, ListsAreOpened) {
  const auto manifests = ParseManifests(
      "kind: List\nitems:\n- kind: A\n- kind: List\n  items: [{kind: B}]\n---\nkind: PodList\napiVersion: "
      "v1\nitems: [{metadata: {name: p}}]\n---\nkind: List\nitems:\n",
      "f");
  ASSERT_TRUE(manifests.ok()) << manifests.status();
  ASSERT_EQ(manifests->size(), 3u);
  EXPECT_EQ((*manifests)[1].Where(), "f:1: items[1].items[0]");
  EXPECT_EQ((*manifests)[2].json,
            (json{{"kind", "Pod"}, {"apiVersion", "v1"}, {"metadata", {{"name", "p"}}}}));
  EXPECT_THAT(ErrorOf("kind: List\nitems: 3"), HasSubstr("f.yaml:1: List: items: must be a list"));
  EXPECT_THAT(ErrorOf("kind: List\nitems: [3]"), HasSubstr("items[0]: not a Kubernetes object"));
}

TEST(Manifest, EmptyTextsHaveNoObjects) {
  for (const char* text : {"", "\n", "---\n", "# only words\n", "null", "~\n---\n"}) {
    const auto manifests = ParseManifests(text, "f");
    ASSERT_TRUE(manifests.ok()) << text << manifests.status();
    EXPECT_TRUE(manifests->empty()) << text;
  }
}

TEST(Manifest, UsersDocuments) {
  const auto read = [](const std::string& name) {
    std::ostringstream text;
    text << std::ifstream(std::string(PODWIRE_TEST_MANIFESTS) + "/" + name).rdbuf();
    return ParseManifests(text.str(), name);
  };
  const auto policy = read("allow-netpol-demo.yaml");
  ASSERT_TRUE(policy.ok()) << policy.status();
  EXPECT_EQ((*policy)[0].json["spec"]["ingress"][0]["ports"][0], (json{{"protocol", "TCP"}, {"port", 80}}));
  const auto namespaces = read("namespaces.yaml");
  ASSERT_TRUE(namespaces.ok()) << namespaces.status();
  EXPECT_EQ(namespaces->size(), 2u);
  const auto flannel = read("kube-flannel-cfg.json");
  ASSERT_TRUE(flannel.ok()) << flannel.status();
  EXPECT_TRUE((*flannel)[0].json["data"]["net-conf.json"].is_string());
  EXPECT_EQ((*read("allow-all-egress.yaml"))[0].json["spec"]["egress"], json::parse("[{}]"));
}

}  // namespace
}  // namespace podwire::cli
