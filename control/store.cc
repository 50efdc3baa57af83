#include "control/store.h"

#include <sys/stat.h>

#include "net/status.h"

namespace podwire {
namespace {

constexpr int kSchemaVersion = 1;
constexpr const char* kSchema = R"(
  CREATE TABLE objects (kind TEXT NOT NULL, ns TEXT NOT NULL, name TEXT NOT NULL, json TEXT NOT NULL,
                        PRIMARY KEY (kind, ns, name)) WITHOUT ROWID;
  CREATE TABLE attachments (container_id TEXT NOT NULL, ifname TEXT NOT NULL, state TEXT NOT NULL, json TEXT NOT NULL,
                            PRIMARY KEY (container_id, ifname)) WITHOUT ROWID;
  CREATE TABLE addresses (address TEXT NOT NULL PRIMARY KEY, container_id TEXT NOT NULL, ifname TEXT NOT NULL,
                          FOREIGN KEY (container_id, ifname) REFERENCES attachments ON DELETE CASCADE) WITHOUT ROWID;
  CREATE INDEX addresses_of ON addresses (container_id, ifname);
  CREATE TABLE planned_subnets (node TEXT NOT NULL PRIMARY KEY, subnet TEXT NOT NULL UNIQUE) WITHOUT ROWID;
  CREATE TABLE meta (key TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
  PRAGMA user_version = 1;)";

constexpr std::string_view StateText(AttachState s) {
  switch (s) {
    case AttachState::kAdding:
      return "adding";
    case AttachState::kUp:
      return "up";
    case AttachState::kDeleting:
      return "deleting";
  }
  return "";
}

constexpr std::string_view CursorKey(IpFamily family) {
  return family == IpFamily::kV6 ? "ipam_cursor6" : "ipam_cursor";
}

AttachState StateFrom(std::string_view text) {
  if (text == "up") return AttachState::kUp;
  return text == "adding" ? AttachState::kAdding : AttachState::kDeleting;
}

absl::Status CheckIntegrity(sqlite3* db) {
  ASSIGN_OR_RETURN(Statement check, Statement::Prepare(db, "PRAGMA quick_check(1)"));
  ASSIGN_OR_RETURN(const bool row, check.Step());
  if (row && check.Text(0) != "ok") return Error(absl::StatusCode::kDataLoss, "{}", check.Text(0));
  return absl::OkStatus();
}

absl::Status Prepare(sqlite3* db) {
  sqlite3_extended_result_codes(db, 1);
  sqlite3_busy_timeout(db, 2000);
  RETURN_IF_ERROR(CheckIntegrity(db));
  RETURN_IF_ERROR(
      Execute(db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON"));
  int64_t version = 0;
  {
    ASSIGN_OR_RETURN(Statement read, Statement::Prepare(db, "PRAGMA user_version"));
    ASSIGN_OR_RETURN(const bool row, read.Step());
    version = row ? read.Number(0) : 0;
  }
  if (version > kSchemaVersion) {
    return Error(absl::StatusCode::kFailedPrecondition,
                 "has schema version {}, written by a newer podwire; this one knows {}: use the newer one",
                 version, kSchemaVersion);
  }
  if (version == kSchemaVersion) return absl::OkStatus();
  ASSIGN_OR_RETURN(Transaction t, Transaction::Begin(db));
  RETURN_IF_ERROR(Execute(db, kSchema));
  return t.Commit();
}

absl::Status DamagedError(const std::string& file, const absl::Status& why) {
  return Error(
      absl::StatusCode::kDataLoss,
      "state database {} is damaged ({}): nothing was changed. Restore it from a backup, or move it away "
      "(with its -wal and -shm files) and start again; objects must then be applied and pods created anew",
      file, Message(why));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Store>> Store::Open(const std::string& file) {
  sqlite3* raw = nullptr;
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
  const int result = sqlite3_open_v2(file.c_str(), &raw, flags, nullptr);
  SqlitePtr db(raw);
  absl::Status status = result == SQLITE_OK ? Prepare(raw) : SqliteError(raw, "open");
  if (absl::IsDataLoss(status)) return DamagedError(file, status);
  if (!status.ok()) return Annotate(status, "state database " + file);
  chmod(file.c_str(), 0600);
  return std::unique_ptr<Store>(new Store(std::move(db)));
}

absl::StatusOr<std::vector<StoredObject>> Store::LoadObjects() {
  const std::lock_guard lock(mutex_);
  ASSIGN_OR_RETURN(
      Statement read,
      Statement::Prepare(db_.get(), "SELECT kind, ns, name, json FROM objects ORDER BY kind, ns, name"));
  std::vector<StoredObject> objects;
  while (true) {
    ASSIGN_OR_RETURN(const bool row, read.Step());
    if (!row) return objects;
    objects.push_back({{read.Text(0), read.Text(1), read.Text(2)}, read.Text(3)});
  }
}

absl::StatusOr<std::map<std::string, PodSubnets>> Store::LoadPlannedSubnets() {
  const std::lock_guard lock(mutex_);
  ASSIGN_OR_RETURN(Statement read, Statement::Prepare(db_.get(), "SELECT node, subnet FROM planned_subnets"));
  std::map<std::string, PodSubnets> subnets;
  while (true) {
    ASSIGN_OR_RETURN(const bool row, read.Step());
    if (!row) return subnets;
    ASSIGN_OR_RETURN(const PodSubnets planned, ParsePodSubnets(read.Text(1)));
    subnets.emplace(read.Text(0), planned);
  }
}

absl::Status Store::WriteObjects(const ObjectEdit& edit) {
  const std::lock_guard lock(mutex_);
  sqlite3* db = db_.get();
  ASSIGN_OR_RETURN(Transaction t, Transaction::Begin(db));
  for (const ObjectId& id : edit.remove) {
    ASSIGN_OR_RETURN(Statement s,
                     Statement::Prepare(db, "DELETE FROM objects WHERE kind = ? AND ns = ? AND name = ?"));
    RETURN_IF_ERROR(s.Bind(id.kind).Bind(id.ns).Bind(id.name).Run());
  }
  for (const StoredObject& o : edit.put) {
    ASSIGN_OR_RETURN(Statement s,
                     Statement::Prepare(db, "INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?)"));
    RETURN_IF_ERROR(s.Bind(o.id.kind).Bind(o.id.ns).Bind(o.id.name).Bind(o.json).Run());
  }
  if (edit.planned_subnets != nullptr) {
    RETURN_IF_ERROR(Execute(db, "DELETE FROM planned_subnets"));
    for (const auto& [node, subnet] : *edit.planned_subnets) {
      ASSIGN_OR_RETURN(Statement s, Statement::Prepare(db, "INSERT INTO planned_subnets VALUES (?, ?)"));
      RETURN_IF_ERROR(s.Bind(node).Bind(ToString(subnet)).Run());
    }
  }
  return t.Commit();
}

absl::StatusOr<std::vector<Attachment>> Store::LoadAttachments() {
  const std::lock_guard lock(mutex_);
  ASSIGN_OR_RETURN(Statement read,
                   Statement::Prepare(db_.get(),
                                      "SELECT container_id, ifname, state, json FROM attachments "
                                      "ORDER BY container_id, ifname"));
  std::vector<Attachment> result;
  while (true) {
    ASSIGN_OR_RETURN(const bool row, read.Step());
    if (!row) return result;
    const AttachmentKey key{read.Text(0), read.Text(1)};
    auto a = AttachmentFromJson(read.Text(3));
    if (!a.ok())
      return Annotate(a.status(), fmt::format("attachment {} in the state database", ToString(key)));
    a->key = key;
    a->state = StateFrom(read.Text(2));
    result.push_back(*std::move(a));
  }
}

absl::Status Store::AddAttachment(const Attachment& a, std::span<const IpAddress> cursors) {
  const std::lock_guard lock(mutex_);
  sqlite3* db = db_.get();
  ASSIGN_OR_RETURN(Transaction t, Transaction::Begin(db));
  ASSIGN_OR_RETURN(Statement s, Statement::Prepare(db, "INSERT INTO attachments VALUES (?, ?, ?, ?)"));
  RETURN_IF_ERROR(
      s.Bind(a.key.container_id).Bind(a.key.ifname).Bind(StateText(a.state)).Bind(ToJson(a)).Run());
  for (const InterfaceAddress& address : a.addresses) {
    ASSIGN_OR_RETURN(Statement add, Statement::Prepare(db, "INSERT INTO addresses VALUES (?, ?, ?)"));
    RETURN_IF_ERROR(add.Bind(ToString(address.address)).Bind(a.key.container_id).Bind(a.key.ifname).Run());
  }
  for (const IpAddress& cursor : cursors) {
    if (!cursor.empty()) RETURN_IF_ERROR(PutMeta(CursorKey(cursor.family()), ToString(cursor)));
  }
  return t.Commit();
}

absl::Status Store::SetAttachmentState(const AttachmentKey& key, AttachState state) {
  const std::lock_guard lock(mutex_);
  ASSIGN_OR_RETURN(Statement s,
                   Statement::Prepare(
                       db_.get(), "UPDATE attachments SET state = ? WHERE container_id = ? AND ifname = ?"));
  return s.Bind(StateText(state)).Bind(key.container_id).Bind(key.ifname).Run();
}

absl::Status Store::RemoveAttachment(const AttachmentKey& key) {
  const std::lock_guard lock(mutex_);
  ASSIGN_OR_RETURN(
      Statement s,
      Statement::Prepare(db_.get(), "DELETE FROM attachments WHERE container_id = ? AND ifname = ?"));
  return s.Bind(key.container_id).Bind(key.ifname).Run();
}

absl::StatusOr<std::vector<IpAddress>> Store::LoadCursors() {
  const std::lock_guard lock(mutex_);
  std::vector<IpAddress> cursors;
  for (const IpFamily family : {IpFamily::kV4, IpFamily::kV6}) {
    ASSIGN_OR_RETURN(Statement s, Statement::Prepare(db_.get(), "SELECT value FROM meta WHERE key = ?"));
    ASSIGN_OR_RETURN(const bool row, s.Bind(CursorKey(family)).Step());
    if (!row) continue;
    ASSIGN_OR_RETURN(const IpAddress cursor, ParseIp(s.Text(0)));
    cursors.push_back(cursor);
  }
  return cursors;
}

absl::Status Store::PutMeta(std::string_view key, std::string_view value) {
  ASSIGN_OR_RETURN(Statement s, Statement::Prepare(db_.get(), "INSERT OR REPLACE INTO meta VALUES (?, ?)"));
  return s.Bind(key).Bind(value).Run();
}

}  // namespace podwire
