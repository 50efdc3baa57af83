#include <cstdlib>
#include <string_view>

#include "overlay/net_conf.h"
#include "overlay/subnet_plan.h"

namespace podwire {
namespace {

void Require(bool good) {
  if (!good) std::abort();
}

/// What a layout promises: subnets on their boundaries, in the network, and one to plan.
void CheckLayout(const SubnetLayout& l) {
  for (const IpAddress& bound : {l.subnet_min, l.subnet_max}) {
    Require(l.network.Contains(bound) && IpPrefix::Make(bound, l.subnet_length).address == bound);
  }
  const auto planned = PlanSubnet(l, {});
  Require(planned.ok() && planned->address == l.subnet_min && CheckSubnet(l, *planned, {}).ok());
}

}  // namespace
}  // namespace podwire

/// Any text is refused, or gives a configuration that keeps its promises and survives printing.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace podwire;
  const auto conf = ParseNetConfText({reinterpret_cast<const char*>(data), size});
  if (!conf.ok()) return 0;
  if (conf->v4) CheckLayout(*conf->v4);
  if (conf->v6) CheckLayout(*conf->v6);
  auto again = ParseNetConfText(ToString(*conf));
  Require(again.ok());
  again->unknown_keys = conf->unknown_keys;
  Require(*again == *conf);
  return 0;
}
