#include "control/cli/table.h"

#include <algorithm>
#include <cctype>
#include <cstdint>

#include <fmt/format.h>

namespace podwire::cli {
namespace {

constexpr size_t kGap = 3;

/// What a terminal may be shown; the switch's names are clean, a manifest's may not be.
std::string Printable(std::string text) {
  if (text.empty()) return "-";
  std::ranges::replace_if(
      text, [](unsigned char c) { return std::iscntrl(c) != 0; }, '?');
  return text;
}

/// Characters, not bytes: labels and names are ASCII, messages need not be.
size_t Width(const std::string& text) {
  return static_cast<size_t>(std::ranges::count_if(text, [](unsigned char c) { return (c & 0xC0) != 0x80; }));
}

void AppendRow(const std::vector<std::string>& row, const std::vector<size_t>& widths, std::string& out) {
  for (size_t i = 0; i < row.size(); ++i) {
    out += row[i];
    if (i + 1 < row.size()) out.append(widths[i] + kGap - Width(row[i]), ' ');
  }
  out += '\n';
}

}  // namespace

std::string AlignedTable(const std::vector<std::string>& header,
                         const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::vector<std::string>> clean;
  clean.reserve(rows.size());
  std::vector<size_t> widths;
  for (const auto& name : header) widths.push_back(Width(name));
  for (const auto& row : rows) {
    auto& cells = clean.emplace_back();
    for (size_t i = 0; i < row.size(); ++i) {
      cells.push_back(Printable(row[i]));
      widths[i] = std::max(widths[i], Width(cells.back()));
    }
  }
  std::string out;
  AppendRow(header, widths, out);
  for (const auto& row : clean) AppendRow(row, widths, out);
  return out;
}

std::string JsonList(std::vector<nlohmann::ordered_json> items, bool single) {
  constexpr auto kReplace = nlohmann::ordered_json::error_handler_t::replace;
  if (single && items.size() == 1) return items[0].dump(2, ' ', false, kReplace) + "\n";
  nlohmann::ordered_json list{
      {"apiVersion", "v1"}, {"kind", "List"}, {"items", nlohmann::ordered_json::array()}};
  for (auto& item : items) list["items"].push_back(std::move(item));
  return list.dump(2, ' ', false, kReplace) + "\n";
}

std::string HumanSeconds(double seconds) {
  if (seconds < 10) return fmt::format("{:.1f}s", seconds);
  const auto s = static_cast<uint64_t>(seconds);
  if (s < 120) return fmt::format("{}s", s);
  if (s < 3 * 3600) return fmt::format("{}m{}s", s / 60, s % 60);
  if (s < 2 * 86400) return fmt::format("{}h{}m", s / 3600, s / 60 % 60);
  return fmt::format("{}d{}h", s / 86400, s / 3600 % 24);
}

}  // namespace podwire::cli
