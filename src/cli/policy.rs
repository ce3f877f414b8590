use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::arguments::shown;
use super::console::Console;
use super::failure::Failure;
use crate::authorization::{Cases, Decision, Method, Policy, PolicyError};
use crate::identifiers::{CallerId, ContextIdentifier};

/// A call is not decided as it should be.
const EXIT_DENIED: u8 = 2;

#[derive(Debug, Subcommand)]
pub(super) enum PolicyCommand {
    /// Check a policy and report everything that is wrong with it.
    Check(Check),
    /// Ask a policy whether a call is allowed, or whether every case of a file is decided as it says.
    Test(Test),
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  ticketd policy check policy.yaml")]
pub(super) struct Check {
    /// The policy.
    file: PathBuf,
}

#[derive(Args, Debug)]
#[command(after_help = "\
A caller is spiffe://TRUST_DOMAIN/PATH, serviceaccount:NAMESPACE/NAME, dns:NAME, unix:NUMBER or unidentified.

A file of cases:
  cases:
    - {caller: spiffe://corp/ns/crm/sa/sync, rpc: GetSystemTicket, tenant: Cust12345, expect: allow, appToken: true}
    - {caller: unix:1000, rpc: ListTenants, expect: deny}

Exit codes: 0 allowed, or all cases as expected; 2 denied, or some case not as expected; 1 a file cannot be used;
64 wrong usage.

Examples:
  ticketd policy test policy.yaml --caller spiffe://corp/ns/crm/sa/sync --rpc GetSystemTicket --tenant Cust12345
  ticketd policy test policy.yaml --caller unix:1000 --rpc ListTenants
  ticketd policy test policy.yaml --cases cases.yaml")]
pub(super) struct Test {
    /// The policy.
    file: PathBuf,
    /// Who calls.
    #[arg(long, required_unless_present = "cases", requires = "rpc")]
    caller: Option<CallerId>,
    /// The RPC's name.
    #[arg(long, value_parser = method, required_unless_present = "cases", requires = "caller")]
    rpc: Option<Method>,
    /// For which tenant; for none when it is left out.
    #[arg(long)]
    tenant: Option<ContextIdentifier>,
    /// A file of cases.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["caller", "rpc", "tenant"])]
    cases: Option<PathBuf>,
}

impl PolicyCommand {
    pub(super) fn run(self, console: &mut Console<'_>) -> Result<(), Failure> {
        match self {
            Self::Check(check) => check.run(console),
            Self::Test(test) => test.run(console),
        }
    }
}

impl Check {
    fn run(self, console: &mut Console<'_>) -> Result<(), Failure> {
        let policy = read(&self.file)?;
        let (entries, groups) = (policy.entries(), policy.groups());
        writeln!(console.output, "The policy is good.")?;
        Ok(writeln!(console.output, "entries:  {entries}\ngroups:   {groups}")?)
    }
}

impl Test {
    fn run(self, console: &mut Console<'_>) -> Result<(), Failure> {
        let policy = read(&self.file)?;
        match (self.caller, self.rpc, self.cases) {
            (Some(caller), Some(method), _) => {
                let explanation = policy.explain(&caller, method, self.tenant);
                match explanation.decision {
                    Decision::Allowed(_) => Ok(writeln!(console.output, "{explanation}")?),
                    Decision::Denied => Err(Failure::Coded(EXIT_DENIED, explanation.to_string())),
                }
            }
            (_, _, Some(file)) => try_cases(&policy, &file, console),
            _ => Err(Failure::usage(&"give --caller and --rpc, or --cases")),
        }
    }
}

fn try_cases(policy: &Policy, file: &Path, console: &mut Console<'_>) -> Result<(), Failure> {
    let cases = Cases::read(file).map_err(|error| of_file(file, &error))?;
    let wrong: Vec<_> = cases.tried_with(policy).collect();
    if wrong.is_empty() {
        return Ok(writeln!(console.output, "All cases are decided as expected: {}.", cases.len())?);
    }
    Err(Failure::Coded(EXIT_DENIED, wrong.join("\n")))
}

fn read(file: &Path) -> Result<Policy, Failure> {
    Policy::read(file).map_err(|error| of_file(file, &error))
}

/// Each mistake with the file's name, as compilers write them.
fn of_file(file: &Path, error: &PolicyError) -> Failure {
    let lines: Vec<_> = error.to_string().lines().map(|line| format!("{}: {line}", shown(file))).collect();
    Failure::Failed(lines.join("\n"))
}

fn method(text: &str) -> Result<Method, String> {
    Method::named(text).ok_or_else(|| {
        let names: Vec<_> = Method::ALL.iter().map(|method| method.name()).collect();
        format!("expected one of {}", names.join(", "))
    })
}
