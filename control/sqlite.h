#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <sqlite3.h>

namespace podwire {

struct SqliteClose {
  void operator()(sqlite3* db) const noexcept { sqlite3_close(db); }
};
struct SqliteFinalize {
  void operator()(sqlite3_stmt* s) const noexcept { sqlite3_finalize(s); }
};
using SqlitePtr = std::unique_ptr<sqlite3, SqliteClose>;

/// The database's last error as a status: DataLoss for a damaged file, AlreadyExists for a broken uniqueness,
/// ResourceExhausted for a full disk.
absl::Status SqliteError(sqlite3* db, std::string_view what);

/// A prepared statement. Not thread-safe, like the connection it belongs to.
class Statement {
 public:
  static absl::StatusOr<Statement> Prepare(sqlite3* db, const char* sql);

  /// Binds the next parameter.
  Statement& Bind(std::string_view text);
  Statement& Bind(int64_t number);
  /// True while there is a row.
  absl::StatusOr<bool> Step();
  /// Runs it to its end.
  absl::Status Run();
  std::string Text(int column) const;
  int64_t Number(int column) const { return sqlite3_column_int64(stmt_.get(), column); }

 private:
  Statement(sqlite3* db, sqlite3_stmt* stmt) : db_(db), stmt_(stmt) {}
  sqlite3* db_;
  std::unique_ptr<sqlite3_stmt, SqliteFinalize> stmt_;
  int bound_ = 0;
};

/// Takes back what was written since unless Commit succeeded.
class Transaction {
 public:
  static absl::StatusOr<Transaction> Begin(sqlite3* db);
  Transaction(Transaction&& other) noexcept : db_(std::exchange(other.db_, nullptr)) {}
  Transaction& operator=(Transaction&&) = delete;
  ~Transaction();
  absl::Status Commit();

 private:
  explicit Transaction(sqlite3* db) : db_(db) {}
  sqlite3* db_;
};

/// Runs statements without results.
absl::Status Execute(sqlite3* db, const char* sql);

}  // namespace podwire
