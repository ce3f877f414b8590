// A service as the vendor's sample makes one: grpc-js, and a Map of tickets. `node map.js ADDRESS ANSWER_FILE`; without
// arguments it only tells, by its exit status, whether the libraries are there.
'use strict';
const fs = require('fs');
const path = require('path');
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');

const [address, answerFile] = process.argv.slice(2);
if (address) {
  const root = path.join(__dirname, '..', '..', 'proto');
  const definition = loader.loadSync('superoffice/ticket/v1/ticket_service.proto', { includeDirs: [root], longs: Number });
  const { TicketService } = grpc.loadPackageDefinition(definition).superoffice.ticket.v1;
  const answer = TicketService.service.GetSystemTicket.responseDeserialize(fs.readFileSync(answerFile));
  const tickets = new Map();
  const getSystemTicket = (call, callback) => {
    const tenant = call.request.contextIdentifier;
    if (!tickets.has(tenant)) tickets.set(tenant, answer);
    callback(null, tickets.get(tenant));
  };
  const server = new grpc.Server();
  server.addService(TicketService.service, { getSystemTicket });
  server.bindAsync(address, grpc.ServerCredentials.createInsecure(), (error) => {
    if (error) throw error;
  });
}
