#include "control/doctor/checks.h"

#include <algorithm>
#include <iterator>

namespace podwire::doctor {

std::string_view ToString(Result result) {
  switch (result) {
    case Result::kPass:
      return "PASS";
    case Result::kWarn:
      return "WARN";
    case Result::kFail:
      return "FAIL";
  }
  return "";
}

Findings CheckAll(const Machine& machine, const Config& config) {
  Findings all;
  for (const auto check : {CheckMemory, CheckCpus, CheckKernel, CheckPci, CheckNetwork, CheckCni}) {
    Findings found = check(machine, config);
    std::ranges::move(found, std::back_inserter(all));
  }
  return all;
}

}  // namespace podwire::doctor
