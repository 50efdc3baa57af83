#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

namespace podwire::cli {

enum class Format { kTable, kWide, kJson, kName };

/// Rows in aligned columns, as kubectl prints them: three spaces between, the last column as long as it is.
/// Line breaks and control characters in a cell are shown as '?'. Empty cells as "-".
std::string AlignedTable(const std::vector<std::string>& header,
                         const std::vector<std::vector<std::string>>& rows);

/// How a kind is shown: the one place that knows its columns, for tables, and its JSON.
template <class Item>
struct View {
  struct Column {
    std::string name;
    std::function<std::string(const Item&)> cell;
    bool wide = false;  // in -o wide only
  };
  std::vector<Column> columns;
  std::function<nlohmann::ordered_json(const Item&)> json;
  std::function<std::string(const Item&)> name;  // "pod/web"
};

/// A list of JSON values as `kubectl get -o json` has it: one alone if `single`, else a v1 List.
std::string JsonList(std::vector<nlohmann::ordered_json> items, bool single);

/// A repeated field as Render takes it.
template <class Range>
auto ToVector(const Range& range) {
  return std::vector(range.begin(), range.end());
}

/// The text of `items` in `format`. `single`: the user asked for one by name.
template <class Item>
std::string Render(const View<Item>& view, const std::vector<Item>& items, Format format, bool single) {
  if (format == Format::kJson) {
    std::vector<nlohmann::ordered_json> list;
    for (const Item& item : items) list.push_back(view.json(item));
    return JsonList(std::move(list), single);
  }
  if (format == Format::kName) {
    std::string text;
    for (const Item& item : items) text += view.name(item) + "\n";
    return text;
  }
  std::vector<std::string> header;
  std::vector<std::vector<std::string>> rows(items.size());
  for (const auto& column : view.columns) {
    if (column.wide && format != Format::kWide) continue;
    header.push_back(column.name);
    for (size_t i = 0; i < items.size(); ++i) rows[i].push_back(column.cell(items[i]));
  }
  return AlignedTable(header, rows);
}

/// "1.5s", "12m", "3h10m", "2d4h": as kubectl shows ages.
std::string HumanSeconds(double seconds);

}  // namespace podwire::cli
