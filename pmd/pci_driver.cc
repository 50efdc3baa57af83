#include "pmd/pci_driver.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <string_view>

#include "net/status.h"
#include "pmd/fd.h"

namespace podwire {
namespace {

namespace fs = std::filesystem;
constexpr std::string_view kNone = "-";
const std::string kDevices = "/sys/bus/pci/devices/";

absl::Status WriteFile(const std::string& path, std::string_view text) {
  const Fd fd(open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd.valid()) return ErrnoError(errno, "open {}", path);
  if (write(fd.get(), text.data(), text.size()) < 0)
    return ErrnoError(errno, "write \"{}\" to {}", text, path);
  return absl::OkStatus();
}

}  // namespace

std::string PciDriver(const std::string& address) {
  std::error_code error;
  return fs::read_symlink(kDevices + address + "/driver", error).filename();
}

absl::Status BindPciDriver(const std::string& address, const std::string& driver, bool anew) {
  const std::string device = kDevices + address;
  const bool none = driver == kNone;
  // An empty line ends what was asked for before.
  RETURN_IF_ERROR(WriteFile(device + "/driver_override", none || driver.empty() ? "\n" : driver));
  const std::string has = PciDriver(address);
  const bool right = none ? has.empty() : driver.empty() ? !has.empty() && has != "vfio-pci" : has == driver;
  if (right && !anew) return absl::OkStatus();
  if (!has.empty()) RETURN_IF_ERROR(WriteFile(device + "/driver/unbind", address));
  if (none) return absl::OkStatus();
  const absl::Status probed = WriteFile("/sys/bus/pci/drivers_probe", address);
  const std::string now = PciDriver(address);
  if (driver != "vfio-pci") RETURN_IF_ERROR(WriteFile(device + "/driver_override", "\n"));
  if (driver.empty() ? !now.empty() : now == driver) return absl::OkStatus();
  return Error(absl::StatusCode::kFailedPrecondition,
               "PCI device {}: driver \"{}\" (empty: any of the kernel's) does not take it: is its module "
               "loaded, or the physical function's sriov_drivers_autoprobe 0? {}",
               address, driver, Message(probed));
}

bool IsVfioGroupOpen(const std::string& group) {
  const Fd fd(open(("/dev/vfio/" + group).c_str(), O_RDWR | O_CLOEXEC));
  return !fd.valid() && errno == EBUSY;
}

}  // namespace podwire
