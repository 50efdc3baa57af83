#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include "control/attachment.h"
#include "control/sqlite.h"
#include "net/address.h"
#include "overlay/subnet_plan.h"

namespace podwire {

/// An applied Kubernetes object: which one, and its JSON text whole.
struct ObjectId {
  std::string kind;
  std::string ns;  ///< empty for cluster-scoped kinds
  std::string name;
  auto operator<=>(const ObjectId&) const = default;
};
struct StoredObject {
  ObjectId id;
  std::string json;
};

/// A change of what is applied; all or nothing.
struct ObjectEdit {
  std::vector<StoredObject> put;
  std::vector<ObjectId> remove;
  /// Subnets planned for nodes without one, by node; replaces all recorded. Unset: unchanged.
  const std::map<std::string, PodSubnets>* planned_subnets = nullptr;
};

/// What survives podwired: applied objects, attachments, addresses given out, planned subnets. SQLite in the
/// state directory (write-ahead log, synchronous): what a method answered OK for is on disk. Any thread.
class Store {
 public:
  /// Opens or creates `file`. DataLoss names the file and the cure when it is damaged, FailedPrecondition
  /// when a newer podwire wrote it; nothing is deleted or overwritten in either case.
  static absl::StatusOr<std::unique_ptr<Store>> Open(const std::string& file);

  absl::StatusOr<std::vector<StoredObject>> LoadObjects();
  absl::StatusOr<std::map<std::string, PodSubnets>> LoadPlannedSubnets();
  absl::Status WriteObjects(const ObjectEdit& edit);

  absl::StatusOr<std::vector<Attachment>> LoadAttachments();
  /// Records the attachment and its addresses; `cursors` are IPAM's. AlreadyExists when the key or an address
  /// is taken.
  absl::Status AddAttachment(const Attachment& a, std::span<const IpAddress> cursors);
  absl::Status SetAttachmentState(const AttachmentKey& key, AttachState state);
  /// Forgets it and its addresses. OK when there is none.
  absl::Status RemoveAttachment(const AttachmentKey& key);
  /// The last cursors given to AddAttachment, at most one a family.
  absl::StatusOr<std::vector<IpAddress>> LoadCursors();

 private:
  explicit Store(SqlitePtr db) : db_(std::move(db)) {}
  absl::Status PutMeta(std::string_view key, std::string_view value);

  std::mutex mutex_;
  SqlitePtr db_;  // under mutex_
};

}  // namespace podwire
