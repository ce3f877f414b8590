//! Tenants from a mounted directory: read-only, before the database's, and followed as they change.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use tempfile::TempDir;
use ticketd::grpc::proto::tenant::Source;
use ticketd::grpc::proto::{
    DeleteTenantRequest, GetTenantRequest, ListTenantsRequest, PutTenantRequest, SystemTicket, Tenant,
};
use tonic::{Code, Status};

use crate::world::{TENANT, World, reason, within};

/// A tenant that only the directory has.
const MOUNTED: &str = "Cust777";
const TOKEN: &str = "Sandbox Application-8k8Q7DmBgo";
/// Changes are seen within it, by the clock.
const A_LOOK: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_tenant_of_the_directory_is_served_and_is_read_only() {
    let mount = TempDir::new().unwrap();
    write(&mount, MOUNTED, TOKEN);
    let world = start(&mount).await;
    let ticket = world.ticket(MOUNTED).await.unwrap();
    assert_eq!(ticket.context_identifier, MOUNTED);

    let token = || "Another Application-0000000000".to_owned();
    let put =
        PutTenantRequest { context_identifier: MOUNTED.to_owned(), system_user_token: token(), accept_serial: false };
    let accept = PutTenantRequest { accept_serial: true, ..put.clone() };
    for put in [put, accept] {
        let refused = within(world.tenants().put_tenant(put)).await.unwrap_err();
        assert_eq!(reason(&refused), (Code::FailedPrecondition, "TENANT_READ_ONLY".to_owned()));
    }
    let delete = DeleteTenantRequest { context_identifier: MOUNTED.to_lowercase() };
    let refused = within(world.tenants().delete_tenant(delete)).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::FailedPrecondition, "TENANT_READ_ONLY".to_owned()));
    assert_eq!(world.ticket(MOUNTED).await.unwrap().fingerprint, ticket.fingerprint, "nothing was changed");

    let tenant = described(&world, MOUNTED).await.unwrap();
    assert_eq!(tenant.source(), Source::Directory);
    assert_eq!(tenant.webapi_url, ticket.webapi_url);
    assert_eq!((tenant.create_time, tenant.update_time), (None, None));
    let listed = listed(&world).await;
    let sources: Vec<_> = listed.iter().map(|tenant| (&*tenant.context_identifier, tenant.source())).collect();
    assert_eq!(sources, [(TENANT, Source::Database), (MOUNTED, Source::Directory)]);
}

#[tokio::test]
async fn the_directory_wins_over_the_database_for_as_long_as_the_file_is_there() {
    let mount = TempDir::new().unwrap();
    let world = start(&mount).await;
    let in_database = world.sandbox.add_tenant(TENANT).system_user_token;
    let first = world.ticket(TENANT).await.unwrap();

    let in_file = "Sandbox Application-1111111111";
    world.sandbox.add_tenant_with_token(TENANT, in_file);
    write(&mount, TENANT, in_file);
    let second = after_a_look(&world, TENANT, &first).await;
    assert_eq!(described(&world, TENANT).await.unwrap().source(), Source::Directory);

    world.sandbox.add_tenant_with_token(TENANT, &in_database);
    fs::remove_file(mount.path().join(TENANT)).unwrap();
    after_a_look(&world, TENANT, &second).await;
    assert_eq!(described(&world, TENANT).await.unwrap().source(), Source::Database);
}

#[tokio::test]
async fn a_changed_file_takes_effect_within_a_second() {
    let mount = TempDir::new().unwrap();
    write(&mount, MOUNTED, TOKEN);
    let world = start(&mount).await;
    let mut current = world.ticket(MOUNTED).await.unwrap();
    write(&mount, "Cust778", TOKEN);
    world.clock.advance(A_LOOK);
    while listed(&world).await.len() < 3 {}
    assert_eq!(world.ticket(MOUNTED).await.unwrap().fingerprint, current.fingerprint, "another file has changed");
    for number in 0..5 {
        let token = format!("Sandbox Application-{number:010}");
        world.sandbox.add_tenant_with_token(MOUNTED, &token);
        write(&mount, MOUNTED, &token);
        current = after_a_look(&world, MOUNTED, &current).await;
    }
    assert_eq!(world.sandbox.exchanges(MOUNTED), 6, "one for each token");

    fs::remove_file(mount.path().join(MOUNTED)).unwrap();
    let refused = until(&world, MOUNTED, Result::is_err).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::NotFound, "TENANT_NOT_REGISTERED".to_owned()));
    assert_eq!(described(&world, MOUNTED).await.unwrap_err().code(), Code::NotFound);

    write(&mount, MOUNTED, "Sandbox Application-0000000004");
    let again = until(&world, MOUNTED, Result::is_ok).await.unwrap();
    assert_ne!(again.fingerprint, current.fingerprint);
}

#[tokio::test]
async fn a_kubernetes_mount_is_swapped_as_a_whole() {
    let mount = TempDir::new().unwrap();
    let token = |version: u32, number: u32| format!("Sandbox Application-{version}00000000{number}");
    let version = |version: u32| {
        let directory = format!("..2026_11_22_{version}");
        fs::create_dir(mount.path().join(&directory)).unwrap();
        for number in 1..=3 {
            fs::write(mount.path().join(&directory).join(format!("Cust{number}")), token(version, number)).unwrap();
        }
        symlink(&directory, mount.path().join("..data_tmp")).unwrap();
        fs::rename(mount.path().join("..data_tmp"), mount.path().join("..data")).unwrap();
    };
    version(0);
    for number in 1..=3 {
        symlink(format!("..data/Cust{number}"), mount.path().join(format!("Cust{number}"))).unwrap();
    }
    let world = start(&mount).await;
    let mut tickets = Vec::new();
    for number in 1..=3 {
        let tenant = format!("Cust{number}");
        world.sandbox.add_tenant_with_token(&tenant, &token(0, number));
        tickets.push(world.ticket(&tenant).await.unwrap());
    }
    for number in 1..=3 {
        world.sandbox.add_tenant_with_token(&format!("Cust{number}"), &token(1, number));
    }
    version(1);
    fs::remove_dir_all(mount.path().join("..2026_11_22_0")).unwrap();
    for ticket in &tickets {
        after_a_look(&world, &ticket.context_identifier, ticket).await;
    }
    assert_eq!(world.sandbox.total_exchanges(), 6);
}

#[tokio::test]
async fn hostile_files_harm_nobody_else() {
    let mount = TempDir::new().unwrap();
    let path = |name: &str| mount.path().join(name);
    fs::write(path("Cust1"), "").unwrap();
    fs::write(path("Cust2"), vec![b'A'; 10 << 20]).unwrap();
    fs::write(path("Cust3"), [0xff, 0xfe, 0x00, 0x80]).unwrap();
    fs::write(path("Cust4"), "Sandbox Application-8k8Q7DmBgo.202611221200.c2lnbmF0dXJl").unwrap();
    fs::create_dir(path("Cust5")).unwrap();
    mknodat(CWD, path("Cust6"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    symlink("/dev/zero", path("Cust7")).unwrap();
    symlink("Cust8", path("Cust8")).unwrap();
    symlink("nowhere", path("Cust9")).unwrap();
    fs::write(path("Cust10"), "Sandbox Application-1").unwrap();
    fs::write(path("CUST10"), "Sandbox Application-2").unwrap();
    for name in [".hidden", "Cust 11", "Cust\n12", "Cüst13", "Cust14.txt", &"C".repeat(200)] {
        fs::write(path(name), "Sandbox Application-3").unwrap();
    }
    write(&mount, MOUNTED, TOKEN);
    let world = start(&mount).await;
    let ticket = world.ticket(MOUNTED).await.unwrap();
    world.ticket(TENANT).await.expect("the database's tenants are served");
    let put = PutTenantRequest {
        context_identifier: "Cust1".to_owned(),
        system_user_token: TOKEN.to_owned(),
        accept_serial: false,
    };
    let refused = within(world.tenants().put_tenant(put)).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::FailedPrecondition, "TENANT_READ_ONLY".to_owned()));
    let mut codes = Vec::new();
    for number in 1..=10 {
        let tenant = format!("Cust{number}");
        let refused = world.ticket(&tenant).await.unwrap_err();
        // A dangling link is no file. The others may be somebody's mistake: the database's tenant does not replace them.
        let expected = if number == 9 {
            (Code::NotFound, "TENANT_NOT_REGISTERED".to_owned())
        } else {
            (Code::FailedPrecondition, "TENANT_UNUSABLE".to_owned())
        };
        assert_eq!(reason(&refused), expected, "{tenant}");
        codes.push(refused.code());
    }
    assert_eq!(world.sandbox.total_exchanges(), 2, "nothing of theirs was sent");

    write(&mount, "Cust1", &world.sandbox.add_tenant("Cust1").system_user_token);
    until(&world, "Cust1", Result::is_ok).await.expect("a file that is set right is used");
    assert_eq!(world.ticket(MOUNTED).await.unwrap().fingerprint, ticket.fingerprint);
    let listed = listed(&world).await;
    let names: Vec<_> = listed.iter().map(|tenant| &*tenant.context_identifier).collect();
    assert_eq!(names, ["Cust1", TENANT, MOUNTED]);
    println!("{} hostile files, {codes:?}", codes.len());
}

#[tokio::test]
async fn a_restart_keeps_the_pinned_serial_of_a_mounted_tenant() {
    let mount = TempDir::new().unwrap();
    write(&mount, MOUNTED, TOKEN);
    let world = start(&mount).await;
    let tenant = world.sandbox.add_tenant(MOUNTED);
    world.ticket(MOUNTED).await.unwrap();
    let world = world.restart().await;
    assert_eq!(described(&world, MOUNTED).await.unwrap().serial, tenant.serial);
    world.ticket(MOUNTED).await.expect("it is the same database");

    world.sandbox.set_tenant_serial(MOUNTED, "999999999").unwrap();
    let world = world.restart().await;
    let refused = world.ticket(MOUNTED).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::Internal, "UPSTREAM_TENANT_MISMATCH".to_owned()));

    world.put_tenant(MOUNTED, &tenant.system_user_token, true).await;
    world.ticket(MOUNTED).await.expect("the new serial is accepted");
    assert_eq!(described(&world, MOUNTED).await.unwrap().serial, "999999999");
}

/// The sandbox knows [`MOUNTED`], and ticketd has the directory.
async fn start(mount: &TempDir) -> World {
    let mount = mount.path().to_owned();
    let world =
        World::builder().config(move |config| config.store.tenants_directory = Some(mount.clone())).start().await;
    world.sandbox.add_tenant_with_token(MOUNTED, TOKEN);
    world
}

/// Writes a tenant's file as editors do.
fn write(mount: &TempDir, tenant: &str, token: &str) {
    let path: &Path = mount.path();
    fs::write(path.join(".new"), format!("{token}\n")).unwrap();
    fs::rename(path.join(".new"), path.join(tenant)).unwrap();
}

async fn described(world: &World, tenant: &str) -> Result<Tenant, Status> {
    let request = GetTenantRequest { context_identifier: tenant.to_owned() };
    Ok(within(world.tenants().get_tenant(request)).await?.into_inner().tenant.unwrap())
}

async fn listed(world: &World) -> Vec<Tenant> {
    within(world.tenants().list_tenants(ListTenantsRequest::default())).await.unwrap().into_inner().tenants
}

/// The ticket that replaces `before` once the directory was looked at again.
async fn after_a_look(world: &World, tenant: &str, before: &SystemTicket) -> SystemTicket {
    let is_another = |answer: &Result<SystemTicket, Status>| !matches!(answer, Ok(ticket) if ticket.fingerprint == before.fingerprint);
    until(world, tenant, is_another).await.unwrap()
}

/// Lets one look be due, and calls until the answer is as wanted. Time stands meanwhile.
async fn until(
    world: &World,
    tenant: &str,
    wanted: impl Fn(&Result<SystemTicket, Status>) -> bool,
) -> Result<SystemTicket, Status> {
    world.clock.advance(A_LOOK);
    for _ in 0..5_000 {
        let answer = world.ticket(tenant).await;
        if wanted(&answer) {
            return answer;
        }
    }
    panic!("no call was answered as wanted");
}
