#include "control/sqlite.h"

#include <utility>

#include "net/status.h"

namespace podwire {
namespace {

absl::StatusCode CodeOf(int error) {
  switch (error & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return absl::StatusCode::kDataLoss;
    case SQLITE_CONSTRAINT:
      return absl::StatusCode::kAlreadyExists;
    case SQLITE_FULL:
      return absl::StatusCode::kResourceExhausted;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return absl::StatusCode::kUnavailable;
    default:
      return absl::StatusCode::kInternal;
  }
}

}  // namespace

absl::Status SqliteError(sqlite3* db, std::string_view what) {
  return Error(CodeOf(sqlite3_errcode(db)), "{}: {}", what, sqlite3_errmsg(db));
}

absl::StatusOr<Statement> Statement::Prepare(sqlite3* db, const char* sql) {
  sqlite3_stmt* stmt = nullptr;
  if (sqlite3_prepare_v2(db, sql, -1, &stmt, nullptr) != SQLITE_OK) return SqliteError(db, sql);
  return Statement(db, stmt);
}

Statement& Statement::Bind(std::string_view text) {
  sqlite3_bind_text(stmt_.get(), ++bound_, text.data(), static_cast<int>(text.size()), SQLITE_TRANSIENT);
  return *this;
}

Statement& Statement::Bind(int64_t number) {
  sqlite3_bind_int64(stmt_.get(), ++bound_, number);
  return *this;
}

absl::StatusOr<bool> Statement::Step() {
  const int result = sqlite3_step(stmt_.get());
  if (result == SQLITE_ROW) return true;
  if (result == SQLITE_DONE) return false;
  return SqliteError(db_, sqlite3_sql(stmt_.get()));
}

absl::Status Statement::Run() {
  while (true) {
    ASSIGN_OR_RETURN(const bool more, Step());
    if (!more) return absl::OkStatus();
  }
}

std::string Statement::Text(int column) const {
  const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(stmt_.get(), column));
  return text == nullptr ? std::string() : std::string(text, sqlite3_column_bytes(stmt_.get(), column));
}

absl::StatusOr<Transaction> Transaction::Begin(sqlite3* db) {
  RETURN_IF_ERROR(Execute(db, "BEGIN IMMEDIATE"));
  return Transaction(db);
}

Transaction::~Transaction() {
  if (db_ != nullptr) sqlite3_exec(db_, "ROLLBACK", nullptr, nullptr, nullptr);
}

absl::Status Transaction::Commit() {
  RETURN_IF_ERROR(Execute(db_, "COMMIT"));
  db_ = nullptr;
  return absl::OkStatus();
}

absl::Status Execute(sqlite3* db, const char* sql) {
  if (sqlite3_exec(db, sql, nullptr, nullptr, nullptr) != SQLITE_OK) return SqliteError(db, sql);
  return absl::OkStatus();
}

}  // namespace podwire
