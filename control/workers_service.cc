#include "control/services.h"
#include "net/status.h"
#include "workers.grpc.pb.h"

namespace podwire {
namespace {

v1::WorkerStatus StatusOf(const WorkerReport& w, const Tables& t) {
  v1::WorkerStatus out;
  out.set_worker(w.worker);
  out.set_lcore(w.cpu);
  out.set_mode(std::string(ToString(w.mode)));
  out.set_busy_percent(w.busy_percent);
  out.set_rx_packets(w.rx_packets);
  out.set_flows(w.flows);
  out.set_flow_capacity(w.flow_capacity);
  v1::Latency& latency = *out.mutable_latency();
  latency.set_samples(w.latency.samples);
  latency.set_p50_us(w.latency.p50_us);
  latency.set_p99_us(w.latency.p99_us);
  latency.set_p999_us(w.latency.p999_us);
  latency.set_max_us(w.latency.max_us);
  for (const WorkerReport::Queue& q : w.queues) {
    if (q.port.value() >= t.ports.size()) continue;  // of a port that is just coming
    v1::WorkerQueue& queue = *out.add_queues();
    queue.set_port(t.ports[q.port.value()].name);
    queue.set_queue(q.queue);
    queue.set_rx_packets(q.rx_packets);
  }
  return out;
}

class WorkersService final : public v1::Workers::Service {
 public:
  explicit WorkersService(Daemon& d) : d_(d) {}

  grpc::Status List(grpc::ServerContext*, const v1::ListWorkersRequest*,
                    grpc::ServerWriter<v1::WorkerStatus>* writer) override {
    for (const v1::WorkerStatus& w : WorkerStatuses(d_.sw)) {
      if (!writer->Write(w)) break;
    }
    return grpc::Status::OK;
  }

  grpc::Status Add(grpc::ServerContext*, const v1::AddWorkerRequest* request,
                   v1::WorkerStatus* out) override {
    const auto mode = ParseWorkerMode(request->mode().empty() ? "adaptive" : request->mode());
    if (!mode.ok()) return ToGrpc(mode.status());
    const auto worker = d_.sw.AddWorker(request->cpu(), *mode);
    return worker.ok() ? Answer(*worker, out) : ToGrpc(worker.status());
  }

  grpc::Status Remove(grpc::ServerContext*, const v1::RemoveWorkerRequest* request,
                      v1::RemoveWorkerResponse*) override {
    const auto worker = NumberOf(request->worker());
    return ToGrpc(worker.ok() ? d_.sw.RemoveWorker(*worker) : worker.status());
  }

  grpc::Status SetMode(grpc::ServerContext*, const v1::SetWorkerModeRequest* request,
                       v1::WorkerStatus* out) override {
    const auto worker = NumberOf(request->worker());
    if (!worker.ok()) return ToGrpc(worker.status());
    const auto mode = ParseWorkerMode(request->mode());
    if (!mode.ok()) return ToGrpc(mode.status());
    const absl::Status set = d_.sw.SetWorkerMode(*worker, *mode);
    return set.ok() ? Answer(*worker, out) : ToGrpc(set);
  }

 private:
  static absl::StatusOr<uint16_t> NumberOf(uint32_t worker) {
    if (worker >= UINT16_MAX) return Error(absl::StatusCode::kNotFound, "there is no worker {}", worker);
    return static_cast<uint16_t>(worker);
  }
  grpc::Status Answer(uint32_t worker, v1::WorkerStatus* out) {
    for (v1::WorkerStatus& w : WorkerStatuses(d_.sw)) {
      if (w.worker() == worker) *out = std::move(w);
    }
    return grpc::Status::OK;
  }

  Daemon& d_;
};

}  // namespace

std::vector<v1::WorkerStatus> WorkerStatuses(Switch& sw) {
  const auto tables = sw.tables();
  std::vector<v1::WorkerStatus> statuses;
  for (const WorkerReport& w : sw.ReadWorkers()) statuses.push_back(StatusOf(w, *tables));
  return statuses;
}

std::unique_ptr<grpc::Service> MakeWorkersService(Daemon& d) { return std::make_unique<WorkersService>(d); }

}  // namespace podwire
