#pragma once

#include "control/cli/table.h"
#include "endpoints.pb.h"
#include "flows.pb.h"
#include "inspect.pb.h"
#include "ports.pb.h"

namespace podwire::cli {

// The columns of what the switch knows.
View<v1::Port> PortView();
View<v1::Device> DeviceView();
View<v1::RouteEntry> RouteView();
View<v1::Endpoint> EndpointView();
View<v1::Flow> FlowView();
View<v1::Connection> ConnectionView();
View<v1::DropCount> DropView();
View<v1::PodDrops> PodDropView();
View<v1::CutCount> CutView();
View<v1::Counter> CounterView();
View<v1::WorkerStatus> WorkerView();

/// "10.244.1.2:5000", "[fd00::1]:53"; without a port if there is none.
std::string AddressAndPort(const std::string& address, uint32_t port);

}  // namespace podwire::cli
