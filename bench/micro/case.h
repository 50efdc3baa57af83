#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace podwire::bench {

/// Packets, keys or queries that a case handles in one Run.
inline constexpr uint16_t kBurst = 32;

/// Something whose cost is measured. Objects are made when their turn comes and destroyed after it.
class Case {
 public:
  virtual ~Case() = default;
  /// Before each Run, not measured.
  virtual void Prepare() {}
  /// What is measured: `items` of CaseInfo operations.
  virtual void Run() = 0;
  /// What else to print: names and numbers.
  virtual std::vector<std::pair<std::string, double>> Facts() const { return {}; }
};

struct CaseInfo {
  std::string name;       ///< "part/variant"
  uint32_t items;         ///< operations a Run
  bool prepared = false;  ///< Prepare does something: each Run is timed alone
  bool gated = true;      ///< has its instructions counted (instructions.py)
  std::function<std::unique_ptr<Case>()> make;
};
using Cases = std::vector<CaseInfo>;

/// A case that is no more than a function, with what it works on captured.
template <class Fn>
class FunctionCase : public Case {
 public:
  explicit FunctionCase(Fn fn) : fn_(std::move(fn)) {}
  void Run() override { fn_(); }

 private:
  Fn fn_;
};
template <class Fn>
std::unique_ptr<Case> MakeCase(Fn fn) {
  return std::make_unique<FunctionCase<Fn>>(std::move(fn));
}

/// The compiler must take `value` for used, and memory for read and written.
template <class T>
inline void Use(const T& value) {
  asm volatile("" : : "r,m"(value) : "memory");
}

void AddHashCases(Cases& cases);
void AddTableCases(Cases& cases);
void AddStageCases(Cases& cases);
void AddPolicyCases(Cases& cases);
void AddBurstCases(Cases& cases);

}  // namespace podwire::bench
