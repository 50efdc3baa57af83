#include <fstream>
#include <set>
#include <sstream>

#include <gtest/gtest.h>

#include "switch/drop_reasons.h"

namespace podwire {
namespace drop_dictionary_test {

TEST(DropDictionary, HasEveryReasonAndNoOther) {
  std::ifstream file(PODWIRE_TROUBLESHOOTING);
  ASSERT_TRUE(file.is_open());
  std::set<std::string> documented, known;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("| `")) documented.insert(line.substr(3, line.find('`', 3) - 3));
  }
  for (size_t i = 1; i < kDropReasonCount; ++i) known.insert(std::string(kDropReasonInfo[i].name));
  EXPECT_EQ(documented, known);
}

}  // namespace drop_dictionary_test
}  // namespace podwire
