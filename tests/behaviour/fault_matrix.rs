//! Every behaviour of the sandbox over every transport, with a ticket in memory and without: the code and the reason that
//! docs/operations.md explains.

#![expect(clippy::print_stdout, reason = "the table is what the test is for")]

use futures_util::future::join_all;
use ticketd::superoffice::ExchangeTransport::{self, Rest, RestThenSoap, Soap};

use crate::faults::{Row, cold, faults_of_the_exchange, faults_of_the_token, warm};

/// So many worlds at once.
const AT_ONCE: usize = 8;

#[tokio::test]
async fn every_behaviour_over_rest_has_its_code_and_reason() {
    check(Rest).await;
}

#[tokio::test]
async fn every_behaviour_over_soap_has_its_code_and_reason() {
    check(Soap).await;
}

#[tokio::test]
async fn every_behaviour_over_both_in_turn_has_its_code_and_reason() {
    check(RestThenSoap).await;
}

/// Each row twice, with and without a ticket, in a world of its own: what fails for several tenants is given up for all.
async fn check(over: ExchangeTransport) {
    let rows: Vec<_> = [faults_of_the_exchange(), faults_of_the_token()].concat();
    let rows: Vec<_> = rows.into_iter().map(|row| row.over(over).throughout()).collect();
    let table: Vec<_> = rows.iter().map(Row::line).collect();
    let mut rows = rows.into_iter();
    loop {
        let batch: Vec<_> = rows.by_ref().take(AT_ONCE).collect();
        if batch.is_empty() {
            break;
        }
        join_all(batch.into_iter().map(|row| async {
            cold(row.clone()).await;
            warm(row).await;
        }))
        .await;
    }
    println!("| SuperOffice | over | without a ticket | at a renewal |\n|---|---|---|---|\n{}", table.join("\n"));
    println!("{} cells as promised", 2 * table.len());
}
