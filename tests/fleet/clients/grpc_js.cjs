// Calls ticketd through grpc-js until its stdin ends, and then says how that went.
//
// node grpc_js.cjs ADDRESS SERVICE_CONFIG_FILE
"use strict";

const fs = require("node:fs");
const { setTimeout: pass } = require("node:timers/promises");
const grpc = require("@grpc/grpc-js");

const [address, serviceConfigFile] = process.argv.slice(2);
const METHOD = "/superoffice.ticket.v1.TicketService/GetSystemTicket";
const DEADLINE = 10_000;
// From one call of a worker to its next.
const PAUSE = 20;

const serviceConfig = fs.readFileSync(serviceConfigFile, "utf8");
const answers = { calls: 0, failures: [] };
let isOver = false;

function client() {
  return new grpc.Client(address, grpc.credentials.createInsecure(), {
    "grpc.service_config": serviceConfig,
    // Only for this test: a client of its own does not share another's connection.
    "grpc.use_local_subchannel_pool": 1,
  });
}

// A GetSystemTicketRequest with its one field, context_identifier.
function request(tenant) {
  return Buffer.concat([Buffer.from([0x0a, tenant.length]), Buffer.from(tenant)]);
}

function call(tickets) {
  answers.calls += 1;
  const bytes = (message) => message;
  const message = request(`Tenant${answers.calls % 10}`);
  return new Promise((done) => {
    tickets.makeUnaryRequest(METHOD, bytes, bytes, message, { deadline: Date.now() + DEADLINE }, (error, answer) => {
      if (error || answer.length === 0) {
        answers.failures.push(error ? error.message : "an empty answer");
      }
      done();
    });
  });
}

// Calls one tenant after the other, over one client or over a new one every few calls.
async function work(callsPerClient) {
  while (!isOver) {
    const tickets = client();
    for (let calls = 0; calls < callsPerClient && !isOver; calls += 1) {
      await call(tickets);
      await pass(PAUSE);
    }
    tickets.close();
  }
}

process.stdin.resume();
process.stdin.on("end", () => {
  isOver = true;
});
Promise.all([work(Infinity), work(Infinity), work(2)]).then(() => {
  console.log(JSON.stringify(answers));
});
