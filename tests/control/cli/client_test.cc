// The program podwire against a fake podwired: what it asks, what it prints, its exit status.

#include <algorithm>
#include <csignal>
#include <fstream>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/control/fake_podwired.h"

namespace podwire {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::Not;

class Client : public testing::Test {
 protected:
  void SetUp() override {
    std::signal(SIGPIPE, SIG_IGN);
    fake_.Start();
  }

  /// Runs `podwire ARGUMENTS`; `input` goes to its standard input.
  Outcome Run(const std::string& arguments, const std::string& input = "", bool with_stderr = true) {
    const std::string file = Write("stdin", input);
    return RunScript(std::string(PODWIRE) + " --server " + fake_.server() + " " + arguments + " < " + file,
                     with_stderr);
  }

  std::string Write(const std::string& name, const std::string& text) {
    const std::string path = fake_.directory() + "/" + name;
    std::ofstream(path) << text;
    return path;
  }

  void AddObject(const std::string& kind, const std::string& ns, const std::string& name, json object) {
    object["kind"] = kind;
    object["metadata"]["name"] = name;
    if (!ns.empty()) object["metadata"]["namespace"] = ns;
    v1::Object out;
    out.set_kind(kind);
    out.set_namespace_(ns);
    out.set_name(name);
    out.set_json(object.dump());
    fake_.state.objects.push_back(out);
  }

  void AddEndpoint(const std::string& ns, const std::string& name, const std::string& address) {
    v1::Endpoint endpoint;
    endpoint.mutable_key()->set_container_id("c-" + name);
    endpoint.mutable_key()->set_ifname("eth0");
    endpoint.set_pod_namespace(ns);
    endpoint.set_pod_name(name);
    endpoint.add_addresses(address);
    endpoint.set_node("n1");
    endpoint.set_attach("tap");
    endpoint.set_port("tap-" + name);
    endpoint.set_state("up");
    endpoint.add_policies_ingress("default/deny");
    fake_.state.endpoints.push_back(endpoint);
  }

  FakePodwired fake_;
};

TEST_F(Client, GetPodsJoinsManifestsAndAttachments) {
  AddObject("Pod", "default", "far", {{"spec", {{"nodeName", "n2"}}}, {"status", {{"podIP", "10.244.2.9"}}}});
  AddObject("Pod", "default", "web",
            {{"spec", json::object()}, {"metadata", {{"labels", {{"app", "web"}}}}}});
  AddObject("Pod", "prod", "db", {{"spec", {{"nodeName", "n2"}}}});
  AddEndpoint("default", "web", "10.244.1.2/24");
  AddEndpoint("default", "bare", "10.244.1.3/24");
  EXPECT_EQ(Run("get pods").output,
            "NAME   ADDRESS      NODE   ATTACH   PORT       STATE   ISOLATION\n"
            "bare   10.244.1.3   n1     tap      tap-bare   up      ingress\n"
            "far    10.244.2.9   n2     -        -          -       -\n"
            "web    10.244.1.2   n1     tap      tap-web    up      ingress\n");
  EXPECT_THAT(Run("get po -A").output, HasSubstr("prod        db     -"));
  EXPECT_THAT(Run("-o wide get Pod web").output, HasSubstr("default/deny(in)   -     app=web\n"));
  EXPECT_EQ(Run("get pods -A -o name").output, "pod/bare\npod/far\npod/web\npod/db\n");
  EXPECT_EQ(json::parse(Run("get pod web -o json").output)["metadata"]["labels"]["app"], "web");
  const json list = json::parse(Run("get pods -o json").output);
  EXPECT_EQ(list["kind"], "List");
  ASSERT_EQ(list["items"].size(), 3u);
  EXPECT_EQ(list["items"][0]["status"]["podIP"], "10.244.1.3") << "made of the attachment";
}

TEST_F(Client, GetObjects) {
  AddObject("NetworkPolicy", "default", "deny",
            {{"spec", {{"podSelector", json::object()}, {"policyTypes", {"Ingress"}}}}});
  AddObject("NetworkPolicy", "default", "some",
            {{"spec",
              {{"podSelector",
                {{"matchLabels", {{"app", "a"}}},
                 {"matchExpressions",
                  {{{"key", "t"}, {"operator", "In"}, {"values", {"x", "y"}}},
                   {{"key", "u"}, {"operator", "DoesNotExist"}}}}}},
               {"egress", {json::object()}}}}});
  AddObject("Node", "", "n1",
            {{"spec", {{"podCIDR", "10.244.1.0/24"}}},
             {"metadata",
              {{"annotations",
                {{"flannel.alpha.coreos.com/public-ip", "192.0.2.1"},
                 {"flannel.alpha.coreos.com/backend-type", "vxlan"}}}}}});
  AddObject("Namespace", "", "prod", {{"metadata", {{"labels", {{"kubernetes.io/metadata.name", "prod"}}}}}});
  EXPECT_EQ(Run("get netpol").output,
            "NAME   POD-SELECTOR          TYPES\n"
            "deny   <none>                Ingress\n"
            "some   app=a,t in (x,y),!u   Ingress,Egress\n");
  AddObject("ClusterNetworkPolicy", "", "no-dns",
            {{"spec",
              {{"tier", "Admin"},
               {"priority", 5},
               {"subject", {{"namespaces", {{"matchLabels", {{"team", "a"}}}}}}},
               {"egress", {json::object()}}}}});
  AddObject("ClusterNetworkPolicy", "", "web",
            {{"spec",
              {{"tier", "Baseline"},
               {"priority", 0},
               {"subject",
                {{"pods",
                  {{"namespaceSelector", json::object()},
                   {"podSelector", {{"matchLabels", {{"app", "web"}}}}}}}}}}}});
  EXPECT_EQ(
      Run("-o wide get cnp").output,
      "NAME     TIER       PRIORITY   SUBJECT                             INGRESS-RULES   EGRESS-RULES\n"
      "no-dns   Admin      5          namespaces: team=a                  0               1\n"
      "web      Baseline   0          pods: app=web; namespaces: <none>   0               0\n");
  EXPECT_EQ(Run("get clusternetworkpolicies no-dns -o name").output,
            "clusternetworkpolicy.policy.networking.k8s.io/no-dns\n");
  EXPECT_EQ(Run("get no").output,
            "NAME   POD-CIDR        PUBLIC-IP   BACKEND\n"
            "n1     10.244.1.0/24   192.0.2.1   vxlan\n");
  EXPECT_THAT(Run("get ns").output, HasSubstr("prod   kubernetes.io/metadata.name=prod\n"));
  EXPECT_EQ(Run("get cm -n kube-system").output, "No configmaps found in namespace kube-system\n");
  EXPECT_EQ(json::parse(Run("get cm -o json").output)["items"], json::array());
  const Outcome missing = Run("get netpol nope");
  EXPECT_EQ(missing.exit_status, 1);
  EXPECT_THAT(missing.output, HasSubstr("nope not found"));
}

TEST_F(Client, TerminalsGetNoControlCharacters) {
  AddObject("Namespace", "", "prod", {{"metadata", {{"labels", {{"a", "\x1b[31mred\n"}}}}}});
  EXPECT_THAT(Run("get ns").output, HasSubstr("prod   a=?[31mred?\n"));
  fake_.state.fault = {grpc::StatusCode::INTERNAL, "bad \x1b[31mname"};
  EXPECT_THAT(Run("status").output, HasSubstr("bad ?[31mname"));
}

TEST_F(Client, GetPortsRoutesEndpoints) {
  v1::Port port;
  port.set_name("uplink");
  port.set_kind("netdev");
  port.set_state("gone: its interface was removed");
  port.set_rx_packets(18446744073709551615u);
  (*port.mutable_options())["interface"] = "eth1";
  fake_.state.ports = {port};
  EXPECT_EQ(Run("get ports").output,
            "NAME     KIND     ROLE   POD   LINK   MTU   MAC   RX-PACKETS             TX-PACKETS\n"
            "uplink   netdev   -      -     gone   -     -     18446744073709551615   0\n");
  const json as_json = json::parse(Run("get port uplink -o json").output);
  EXPECT_EQ(as_json["rxPackets"], 18446744073709551615u);
  EXPECT_EQ(as_json["options"]["interface"], "eth1");
  EXPECT_EQ(Run("get ports other").exit_status, 1);
  v1::Device device;
  device.set_address("0000:03:00.0");
  device.set_driver("igb");
  device.add_interfaces("eth2");
  device.set_vfs(2);
  device.set_max_vfs(8);
  device.set_eswitch("legacy");
  fake_.state.devices = {device};
  EXPECT_EQ(Run("get devices").output,
            "ADDRESS        ID   DRIVER   INTERFACE   VFS   ESWITCH   PF   PORT\n"
            "0000:03:00.0   -    igb      eth2        2/8   legacy    -    -\n");
  EXPECT_EQ(Run("get device 0000:03:00.0 -o name").output, "device/0000:03:00.0\n");
  v1::RouteEntry route;
  route.set_prefix("10.244.2.0/24");
  route.set_kind("vxlan");
  fake_.state.routes = {route};
  EXPECT_THAT(Run("get routes").output, HasSubstr("10.244.2.0/24   vxlan   -"));
  AddEndpoint("default", "web", "10.244.1.2/24");
  EXPECT_THAT(Run("get endpoints web").output, HasSubstr("default/web   eth0     10.244.1.2/24"));
}

TEST_F(Client, ApplySendsAllFilesAtOnceAndPrintsLikeKubectl) {
  const std::string a = Write("a.yaml",
                              "kind: Pod\nmetadata: {name: web}\nspec: {x: \"80\"}\n---\nkind: List\nitems: "
                              "[{kind: Node, metadata: {name: n1}}]\n");
  const std::string b =
      Write("b.json", R"({"kind": "NetworkPolicy", "metadata": {"name": "deny", "namespace": "prod"}})");
  const auto change = [&](const char* kind, const char* ns, const char* name, v1::Change what) {
    auto& added = *fake_.state.apply_response.add_changes();
    added.set_kind(kind);
    added.set_namespace_(ns);
    added.set_name(name);
    added.set_change(what);
    return &added;
  };
  change("Pod", "default", "web", v1::CREATED)->add_warnings("no address yet");
  change("Node", "", "n1", v1::UNCHANGED);
  change("NetworkPolicy", "prod", "deny", v1::REPLACED);
  const Outcome outcome = Run("apply -f " + a + " -f " + b);
  EXPECT_EQ(outcome.exit_status, 0);
  EXPECT_THAT(outcome.output, HasSubstr("Warning: Pod default/web: no address yet\n"));
  EXPECT_EQ(Run("apply -f " + a + " -f " + b, "", /*with_stderr=*/false).output,
            "pod/web created\nnode/n1 unchanged\nnetworkpolicy.networking.k8s.io/deny configured\n");
  ASSERT_EQ(fake_.state.apply.json_size(), 3);
  EXPECT_EQ(json::parse(fake_.state.apply.json(0))["spec"]["x"], "80");
  EXPECT_EQ(fake_.state.apply.default_namespace(), "");
  EXPECT_FALSE(fake_.state.apply.dry_run());
  EXPECT_THAT(Run("apply -n stage --dry-run -f -", "kind: Pod\nmetadata: {name: p}\n").output,
              HasSubstr("created (dry run)"));
  EXPECT_EQ(fake_.state.apply.default_namespace(), "stage");
  EXPECT_TRUE(fake_.state.apply.dry_run());
  EXPECT_EQ(Run("apply -f " + fake_.directory()).exit_status, 0) << "a directory";
  EXPECT_EQ(fake_.state.apply.json_size(), 3);
}

TEST_F(Client, ARefusedDocumentIsNamed) {
  const std::string file = Write("p.yaml", "kind: Pod\n---\n\nkind: NetworkPolicy\n");
  v1::ApplyErrors errors;
  auto& error = *errors.add_errors();
  error.set_document(1);
  error.set_kind("NetworkPolicy");
  error.set_namespace_("prod");
  error.set_name("deny");
  error.set_field("spec.ingress[0].from[1].ipBlock.cidr");
  error.set_message("\"10.0.0.0/99\" is not a CIDR");
  fake_.state.fault = {grpc::StatusCode::INVALID_ARGUMENT, "1 object is bad", errors.SerializeAsString()};
  const Outcome outcome = Run("apply -f " + file);
  EXPECT_EQ(outcome.exit_status, 1);
  EXPECT_EQ(outcome.output,
            "podwire: " + file +
                ":4: NetworkPolicy prod/deny: spec.ingress[0].from[1].ipBlock.cidr: \"10.0.0.0/99\" is "
                "not a CIDR\nnothing was applied\n");
}

TEST_F(Client, BadInputNeverReachesPodwired) {
  const std::string good = Write("good.yaml", "kind: Pod\nmetadata: {name: a, namespace: prod}\n");
  const std::string bad = Write("bad.yaml", "kind: Pod\nkind: Pod\n");
  EXPECT_THAT(Run("apply -f " + good + " -f " + bad).output,
              HasSubstr("bad.yaml:2: key \"kind\" is given twice"));
  EXPECT_THAT(Run("apply -f -", "# nothing\n").output, HasSubstr("stdin: no object in it"));
  EXPECT_THAT(Run("apply -n stage -f " + good).output,
              HasSubstr("metadata.namespace: is not the namespace stage"));
  EXPECT_EQ(Run("apply -f " + fake_.directory() + "/none.yaml").exit_status, 1);
  EXPECT_EQ(fake_.state.apply.json_size(), 0);
}

TEST_F(Client, DeleteByManifestAndByName) {
  auto& gone = *fake_.state.delete_response.add_changes();
  gone.set_kind("NetworkPolicy");
  gone.set_name("deny");
  gone.set_change(v1::DELETED);
  EXPECT_EQ(Run("delete netpol deny -n prod").output, "networkpolicy.networking.k8s.io \"deny\" deleted\n");
  EXPECT_EQ(fake_.state.deletion.objects(0).kind(), "NetworkPolicy");
  EXPECT_EQ(fake_.state.deletion.objects(0).namespace_(), "prod");
  Run("delete -f -", "kind: Node\nmetadata: {name: n1}\n---\nkind: Pod\nmetadata: {name: p}\n");
  EXPECT_EQ(fake_.state.deletion.objects(0).namespace_(), "");
  EXPECT_EQ(fake_.state.deletion.objects(1).namespace_(), "default");
  gone.set_change(v1::UNCHANGED);
  const Outcome unknown = Run("delete netpol deny");
  EXPECT_EQ(unknown.exit_status, 1);
  EXPECT_THAT(unknown.output, HasSubstr("NetworkPolicy deny not found"));
  EXPECT_EQ(Run("delete netpol deny --ignore-not-found").exit_status, 0);
  for (const char* wrong : {"delete", "delete netpol", "delete ports p", "delete netpol a -f x"}) {
    EXPECT_EQ(Run(wrong).exit_status, 2) << wrong;
  }
}

TEST_F(Client, FlowsAndConnectionsWithFilters) {
  v1::Flow flow;
  flow.mutable_tuple()->set_src("10.244.1.2");
  flow.mutable_tuple()->set_src_port(5000);
  flow.mutable_tuple()->set_dst("fd00::1");
  flow.mutable_tuple()->set_dst_port(53);
  flow.mutable_tuple()->set_protocol("udp");
  flow.set_action("vxlan");
  flow.set_packets(7);
  flow.set_idle_seconds(130);
  fake_.state.flows = {flow};
  EXPECT_EQ(
      Run("flows --pod web --address 10.244.0.0/16 --port 53 --proto udp --verdict allowed --limit 5").output,
      "PROTO   FROM              TO             ACTION   OUT   NEXT-HOP   REASON   PACKETS   BYTES   IDLE\n"
      "udp     10.244.1.2:5000   [fd00::1]:53   vxlan    -     -          -        7         0       "
      "2m10s\n");
  EXPECT_EQ(fake_.state.filter.ShortDebugString(),
            "pod_namespace: \"default\" pod_name: \"web\" address: \"10.244.0.0/16\" port: 53 protocol: "
            "\"udp\" verdict: "
            "\"allowed\" limit: 5");
  v1::Connection connection;
  connection.set_state("established");
  fake_.state.connections = {connection};
  EXPECT_THAT(Run("connections --pod prod/web").output, HasSubstr("established"));
  EXPECT_EQ(fake_.state.filter.pod_namespace(), "prod");
  EXPECT_EQ(json::parse(Run("get flows -o json").output)["items"][0]["packets"], 7);
  EXPECT_EQ(Run("get flows x").exit_status, 2);
  for (const char* wrong : {"--address 10.0.0.300", "--verdict maybe", "--port 65536", "--bogus"}) {
    EXPECT_EQ(Run(std::string("flows ") + wrong).exit_status, 2) << wrong;
  }
}

TEST_F(Client, CountersSayWhetherTheBooksBalance) {
  auto& counters = fake_.state.counters;
  counters.set_received(100);
  counters.set_generated(2);
  counters.set_sent(90);
  counters.set_dropped(9);
  counters.set_consumed(2);
  counters.set_queued(1);
  counters.add_counters()->set_name("drop_policy_denied");
  EXPECT_THAT(
      Run("counters").output,
      HasSubstr("received 100 + generated 2 = sent 90 + dropped 9 + consumed 2 + queued 1: BALANCED\n"));
  EXPECT_THAT(Run("counters").output, Not(HasSubstr("drop_policy_denied")));
  EXPECT_THAT(Run("counters --all").output, HasSubstr("drop_policy_denied   0"));
  counters.set_sent(93);
  EXPECT_THAT(Run("counters").output, HasSubstr("DIFFERENCE -3"));
  const json as_json = json::parse(Run("counters -o json").output);
  EXPECT_EQ(as_json["difference"], -3);
  EXPECT_EQ(as_json["balanced"], false);
}

TEST_F(Client, DropsByReasonAndPod) {
  EXPECT_EQ(Run("drops").output, "No drops\n");
  auto& reason = *fake_.state.drops.add_reasons();
  reason.set_reason("policy_denied");
  reason.set_packets(3);
  reason.set_help("no NetworkPolicy allows it");
  fake_.state.drops.add_reasons()->set_reason("no_route");
  auto& pod = *fake_.state.drops.add_pods();
  pod.set_pod("default/web");
  pod.set_reason("policy_denied");
  pod.set_packets(3);
  EXPECT_EQ(Run("drops").output,
            "REASON          PACKETS   MEANING\n"
            "policy_denied   3         no NetworkPolicy allows it\n"
            "\n"
            "POD           REASON          PACKETS   POLICIES\n"
            "default/web   policy_denied   3         -\n");
  pod.add_policies("default/deny-all");
  pod.add_policies("default/web");
  pod.mutable_last()->set_hint("would pass if it were TCP 80");
  auto& cut = *fake_.state.drops.add_cuts();
  cut.set_policies("default/deny-all");
  cut.set_connections(2);
  EXPECT_THAT(Run("drops").output, HasSubstr("3         default/deny-all,default/web\n"));
  EXPECT_THAT(Run("drops").output, HasSubstr("\n\nCUT-BY             CONNECTIONS\ndefault/deny-all   2\n"));
  EXPECT_THAT(Run("drops -o wide").output, HasSubstr("would pass if it were TCP 80"));
  EXPECT_THAT(Run("drops --all").output, HasSubstr("no_route"));
}

TEST_F(Client, ExplainsExitStatusIsTheVerdict) {
  auto& explanation = fake_.state.explanation;
  explanation.set_verdict("denied");
  explanation.set_reason("policy_denied");
  explanation.set_src("10.244.1.2");
  explanation.set_summary("prod/deny isolates prod/db");
  auto& step = *explanation.add_steps();
  step.set_stage("ingress policy");
  step.set_outcome("deny");
  step.set_text("no rule allows it");
  step.add_details("prod/deny has no rules");
  const Outcome denied = Run("explain --from web --to prod/db:5432");
  EXPECT_EQ(denied.exit_status, 1);
  EXPECT_EQ(denied.output,
            "web (10.244.1.2) -> prod/db tcp/5432: denied (policy_denied)\n"
            "prod/deny isolates prod/db\n\n"
            "ingress policy   deny   no rule allows it\n"
            "                       - prod/deny has no rules\n");
  EXPECT_EQ(fake_.state.explain.to(), "prod/db");
  EXPECT_EQ(fake_.state.explain.port(), 5432u);
  EXPECT_EQ(fake_.state.explain.default_namespace(), "default");
  explanation.set_verdict("allowed");
  EXPECT_EQ(Run("explain --from web --to [fd00::1]:53 --proto udp -o json").exit_status, 0);
  EXPECT_EQ(fake_.state.explain.to(), "fd00::1");
  EXPECT_EQ(Run("explain --from web --to fd00::1 --proto icmp").exit_status, 0);
  EXPECT_EQ(fake_.state.explain.to(), "fd00::1");
  for (const char* wrong : {"--from web", "--from web --to db", "--from web --to db:0", "--from web --to :80",
                            "--from web --to db:80 --port 81"}) {
    EXPECT_EQ(Run(std::string("explain ") + wrong).exit_status, 2) << wrong;
  }
}

TEST_F(Client, PortsAddAndRemove) {
  EXPECT_EQ(Run("ports add p0 --kind vdev --option devargs=net_null0,size=64 --option a=b --mtu 1500").output,
            "port/p0 created\n");
  EXPECT_EQ(fake_.state.added_port.options().at("devargs"), "net_null0,size=64");
  EXPECT_EQ(fake_.state.added_port.mtu(), 1500u);
  EXPECT_EQ(Run("ports remove p0").output, "port \"p0\" deleted\n");
  EXPECT_EQ(fake_.state.removed_port, "p0");
  fake_.state.fault = {grpc::StatusCode::FAILED_PRECONDITION, "p0 is the underlay port"};
  const Outcome refused = Run("ports remove p0");
  EXPECT_EQ(refused.exit_status, 1);
  EXPECT_EQ(refused.output, "podwire: p0 is the underlay port\n");
  EXPECT_EQ(Run("ports add p0 --kind vdev --option junk").exit_status, 2);
  EXPECT_EQ(Run("ports").exit_status, 2);
}

TEST_F(Client, WorkersListAddRemoveMode) {
  v1::WorkerStatus worker;
  worker.set_worker(1);
  worker.set_lcore(3);
  worker.set_mode("poll");
  worker.add_queues()->set_port("uplink");
  fake_.state.workers.push_back(worker);
  for (const char* list : {"workers", "workers list"}) {
    EXPECT_THAT(Run(list).output, HasSubstr("1        3       poll   1        0%")) << list;
  }
  EXPECT_THAT(Run("workers -o wide").output, HasSubstr("uplink/0"));
  EXPECT_EQ(Run("workers add 5 --mode poll").output, "worker/4 created on CPU 5\n");
  EXPECT_EQ(fake_.state.added_worker.mode(), "poll");
  EXPECT_EQ(json::parse(Run("workers add 5 -o json").output)["worker"], 4);
  EXPECT_EQ(Run("workers remove 4").output, "worker \"4\" deleted\n");
  EXPECT_EQ(fake_.state.removed_worker, 4u);
  EXPECT_EQ(Run("workers mode 1 adaptive").output, "worker/1 is adaptive now\n");
  EXPECT_EQ(fake_.state.worker_mode.worker(), 1u);
  fake_.state.fault = {grpc::StatusCode::FAILED_PRECONDITION, "worker 0 is the last"};
  const Outcome refused = Run("workers remove 0");
  EXPECT_EQ(refused.exit_status, 1);
  EXPECT_EQ(refused.output, "podwire: worker 0 is the last\n");
  for (const char* wrong :
       {"workers add", "workers add x", "workers mode 1", "workers mode 1 lazy", "workers frob"}) {
    EXPECT_EQ(Run(wrong).exit_status, 2) << wrong;
  }
}

TEST_F(Client, Status) {
  auto& status = fake_.state.status;
  status.set_node("n1");
  status.set_uptime_seconds(4000);
  status.add_warnings("public-ip differs");
  for (const char* family : {"IPv4", "IPv6"}) {
    auto& table = *status.add_connection_tables();
    table.set_family(family);
    table.set_connections(9);
    table.set_capacity(1024);
    table.set_connection_bytes(256);
    table.set_embryonic(5);
    table.set_embryonic_budget(256);
    table.set_evicted(7);
  }
  status.add_workers()->set_lcore(3);
  auto& busy = *status.add_workers();
  busy.set_worker(1);
  busy.mutable_latency()->set_samples(64);
  busy.mutable_latency()->set_p50_us(2.04);
  busy.mutable_latency()->set_p99_us(15);
  busy.mutable_latency()->set_p999_us(40.26);
  busy.mutable_latency()->set_max_us(1200);
  const std::string text = Run("status").output;
  EXPECT_THAT(text, HasSubstr("Node:         n1\nUptime:       66m40s\n"));
  EXPECT_THAT(text, HasSubstr("Network:      none yet"));
  EXPECT_THAT(text,
              HasSubstr("Connections:  IPv4 9 of 1024, 256 bytes each; IPv6 9 of 1024, 256 bytes each\n"));
  EXPECT_THAT(text, HasSubstr("Embryonic:    IPv4 5 of 256, 7 connections evicted early; IPv6 5 of 256, "));
  EXPECT_THAT(text, HasSubstr("Warning:      public-ip differs"));
  EXPECT_THAT(text, HasSubstr("0        3       -      0        0%"));
  EXPECT_THAT(text, HasSubstr("P50     P99      P99.9    MAX\n"));
  EXPECT_THAT(text, HasSubstr("-       -        -        -\n")) << "no samples, no latency";
  EXPECT_THAT(text, HasSubstr("2.0us   15.0us   40.3us   1200.0us\n"));
  EXPECT_EQ(json::parse(Run("status -o json").output)["workers"][0]["lcore"], 3);
  EXPECT_EQ(json::parse(Run("status -o json").output)["workers"][1]["latency"]["p99Us"], 15);
}

TEST_F(Client, ExitStatusTellsRefusedFromUnreachable) {
  fake_.state.fault = {grpc::StatusCode::INTERNAL, "no"};
  EXPECT_EQ(Run("status").exit_status, 1);
  fake_.Stop();
  const Outcome outcome = Run("status");
  EXPECT_EQ(outcome.exit_status, 3);
  EXPECT_THAT(outcome.output, HasSubstr("podwired is not reachable at " + fake_.server()));
  EXPECT_THAT(outcome.output, HasSubstr("is podwired running"));
  EXPECT_EQ(RunScript("PODWIRE_SERVER=/nonexistent.sock " PODWIRE " status").exit_status, 3);
  for (const char* wrong : {"", "frobnicate", "get", "get pods a b", "-o xml status", "--timeout 0 status"}) {
    EXPECT_EQ(Run(wrong).exit_status, 2) << wrong;
  }
  for (const char* fine : {"--help", "--version", "get --help", "ports add --help", "workers --help",
                           "workers add --help", "completion bash"}) {
    EXPECT_EQ(Run(fine).exit_status, 0) << fine;
  }
}

v1::DropRecord DeniedRecord() {
  v1::DropRecord r;
  r.set_kind("drop");
  r.set_time("2026-01-31T10:00:00.000001Z");
  r.set_reason("policy_denied_ingress");
  r.set_in_port("pod-c1-eth0");
  r.set_protocol("tcp");
  r.set_src("10.244.1.2");
  r.set_src_port(40000);
  r.set_src_pod("dev/client");
  r.set_dst("10.244.1.3");
  r.set_dst_port(80);
  r.set_dst_pod("prod/web");
  r.set_pod("prod/web");
  r.set_direction("ingress");
  r.add_policies("prod/deny-all");
  r.add_policies("prod/web");
  r.set_hint("would pass ingress[0] of prod/web if it were TCP 443");
  return r;
}

TEST_F(Client, WatchedDropsNamePoliciesAndHint) {
  auto& records = fake_.state.drop_records;
  records.push_back(DeniedRecord());
  records.push_back(DeniedRecord());
  records.back().set_kind("cut");
  records.back().clear_in_port();
  records.emplace_back();
  records.back().set_kind("missed");
  records.back().set_lost(7);
  records.back().set_left_out(100);
  records.emplace_back();
  records.back().set_kind("drop");
  records.back().set_time("T");
  records.back().set_reason("malformed");
  records.back().set_in_port("uplink");
  EXPECT_EQ(
      Run("drops --watch").output,
      "# watching drops, until Ctrl-C\n"
      "2026-01-31T10:00:00.000001Z policy_denied_ingress tcp dev/client (10.244.1.2:40000) > prod/web "
      "(10.244.1.3:80), ingress of prod/web, from port pod-c1-eth0\n"
      "    isolated by prod/deny-all, prod/web\n"
      "    would pass ingress[0] of prod/web if it were TCP 443\n"
      "2026-01-31T10:00:00.000001Z cut policy_denied_ingress tcp dev/client (10.244.1.2:40000) > prod/web "
      "(10.244.1.3:80), ingress of prod/web\n"
      "    isolated by prod/deny-all, prod/web\n"
      "    would pass ingress[0] of prod/web if it were TCP 443\n"
      "# 7 records lost: they came faster than they were read\n"
      "# 100 more drops, counted only\n"
      "T malformed, from port uplink\n");
  records.resize(2);
  const std::string lines = Run("drops -w -o json").output;
  EXPECT_EQ(std::ranges::count(lines, '\n'), 2) << "an object a line";
  const json first = json::parse(lines.substr(0, lines.find('\n')));
  EXPECT_EQ(first["policies"], json::array({"prod/deny-all", "prod/web"}));
  EXPECT_EQ(first["dstPort"], 80);
}

TEST_F(Client, WatchedDropsAreFiltered) {
  EXPECT_EQ(Run("drops --watch --pod prod/web --reason no_route --address 10.0.0.0/8 --port 80 --proto tcp")
                .exit_status,
            0);
  const v1::WatchDropsRequest& asked = fake_.state.drop_filter;
  EXPECT_EQ(asked.pod_namespace(), "prod");
  EXPECT_EQ(asked.pod_name(), "web");
  EXPECT_EQ(asked.reason(), "no_route");
  EXPECT_EQ(asked.address(), "10.0.0.0/8");
  EXPECT_EQ(asked.port(), 80u);
  EXPECT_EQ(asked.protocol(), "tcp");
  EXPECT_EQ(Run("drops --reason no_route").exit_status, 2) << "a filter of --watch";
  EXPECT_EQ(Run("drops --watch --port 0").exit_status, 2);
  EXPECT_EQ(Run("drops --watch --address nowhere").exit_status, 2);
}

TEST_F(Client, WatchedDropsEndWithCtrlC) {
  fake_.state.drop_records.push_back(DeniedRecord());
  fake_.state.watch_goes_on = true;
  const std::string command = std::string(PODWIRE) + " --server " + fake_.server();
  for (const char* signal : {"INT", "TERM"}) {
    const Outcome outcome = RunScript(command + " --timeout 0.5 drops --watch & pid=$!; sleep 0.9; kill -" +
                                      signal + " $pid; wait $pid");
    EXPECT_EQ(outcome.exit_status, 0) << outcome.output;
    EXPECT_THAT(outcome.output, HasSubstr("isolated by prod/deny-all")) << "it is written at once";
    EXPECT_THAT(outcome.output, Not(HasSubstr("podwire:")));
  }
  EXPECT_EQ(RunScript("PODWIRE_SERVER=/nonexistent.sock " PODWIRE " drops --watch").exit_status, 3);
  fake_.state.fault = grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "reason: there is no reason \"x\"");
  const Outcome refused = Run("drops --watch --reason x");
  EXPECT_EQ(refused.exit_status, 1);
  EXPECT_THAT(refused.output, HasSubstr("there is no reason"));
}

TEST_F(Client, WatchRepeatsUntilInterrupted) {
  const std::string command = std::string(PODWIRE) + " --server " + fake_.server();
  const Outcome outcome =
      RunScript(command + " counters --watch 0.2 & pid=$!; sleep 0.9; kill -INT $pid; wait $pid");
  EXPECT_EQ(outcome.exit_status, 0) << "Ctrl-C is a clean end";
  size_t rounds = 0;
  for (size_t at = 0; (at = outcome.output.find("# 2", at)) != std::string::npos; ++at) ++rounds;
  EXPECT_GE(rounds, 2u) << outcome.output;
  EXPECT_EQ(RunScript(command + " counters -w | head -1 | cut -c1-3").output, "# 2\n");
}

TEST_F(Client, DoctorSaysWhatIsMissingAndWhatMendsIt) {
  fake_.state.status.set_version(PODWIRE_VERSION);
  fake_.state.status.set_node("n1");
  const std::string config =
      Write("podwired.json", R"({"node": "n1", "hugepages": "off", "memoryMb": 64, "lcores": {"workers": [0]},
      "ports": [{"name": "up", "kind": "netdev", "interface": "no-such0"}]})");
  const Outcome outcome = Run("doctor --config " + config);
  EXPECT_EQ(outcome.exit_status, 1);
  EXPECT_THAT(outcome.output, HasSubstr("RESULT   CHECK"));
  EXPECT_THAT(outcome.output, testing::ContainsRegex("FAIL     port up +there is no interface no-such0\n"));
  EXPECT_THAT(outcome.output, HasSubstr("FAIL port up: ip link shows those that are there\n"));
  EXPECT_THAT(outcome.output, HasSubstr("serves n1\n"));
  EXPECT_THAT(outcome.output,
              testing::ContainsRegex("[0-9]+ passed, [0-9]+ warnings, [1-9][0-9]* failed\n$"));
}

TEST_F(Client, DoctorReadsTheConfiguration) {
  const std::string bad = Write("podwired.json", R"({"node": 1})");
  const json findings =
      json::parse(Run("doctor -o json --config " + bad, "", /*with_stderr=*/false).output)["items"];
  EXPECT_EQ(findings[0]["check"], "configuration");
  EXPECT_EQ(findings[0]["result"], "FAIL");
  EXPECT_EQ(findings[0]["cure"], "podwired --check-config " + bad);
  EXPECT_EQ(findings.back()["check"], "podwired");
  EXPECT_THAT(Run("doctor --config /none/such").output, HasSubstr("write it (docs/install.md)"));
}

TEST_F(Client, DoctorAsksPodwiredWhereTheConfigurationHasIt) {
  fake_.state.status.set_version(PODWIRE_VERSION);
  fake_.state.status.set_node("n1");
  const std::string config = Write("podwired.json", json{{"node", "n1"}, {"listen", fake_.server()}}.dump());
  EXPECT_THAT(RunScript(std::string(PODWIRE) + " doctor --config " + config).output,
              HasSubstr("serves n1\n"));
}

TEST_F(Client, BashCompletes) {
  AddObject("Namespace", "", "prod", json::object());
  AddObject("Namespace", "", "dev", json::object());
  const auto complete = [&](const std::string& words) {
    return RunScript("PATH=$(dirname " PODWIRE "):$PATH; export PODWIRE_SERVER=" + fake_.server() +
                     "; source <(podwire completion bash); COMP_WORDS=(podwire " + words +
                     "); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _podwire; echo ${COMPREPLY[@]}")
        .output;
  };
  EXPECT_EQ(complete("ex"), "explain\n");
  EXPECT_EQ(complete("get netw"), "networkpolicies\n");
  EXPECT_EQ(complete("get ns ''"), "prod dev\n");
  EXPECT_EQ(complete("-o js"), "json\n");
  EXPECT_EQ(complete("flows --verd"), "--verdict\n");
  EXPECT_EQ(complete("drops --reas"), "--reason\n");
  fake_.state.drops.add_reasons()->set_reason("no_route");
  fake_.state.drops.add_pods()->set_pod("default/no_reason");
  EXPECT_EQ(complete("drops --watch --reason no"), "no_route\n");
  EXPECT_EQ(complete("ports re"), "remove\n");
  EXPECT_EQ(complete("get pods -n d"), "dev\n");
}

}  // namespace
}  // namespace podwire
