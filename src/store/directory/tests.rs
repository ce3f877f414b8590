use std::fs;
use std::os::unix::fs::symlink;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::store::contract::{named, token};

async fn open(mount: &TempDir) -> Directory {
    Directory::open(mount.path().to_owned()).await.unwrap()
}

async fn found(directory: &Directory, name: &str) -> Option<SystemUserToken> {
    directory.find(named(name)).await.unwrap().map(|tenant| tenant.system_user_token)
}

async fn problem(directory: &Directory, name: &str) -> TenantFileProblem {
    match directory.find(named(name)).await {
        Err(StoreError::TenantFile { problem, path }) => {
            assert!(path.starts_with(directory.path()));
            problem
        }
        other => panic!("{other:?}"),
    }
}

fn listed(directory: &Directory) -> Vec<String> {
    directory.page(None, 100).into_iter().map(|tenant| tenant.context_identifier.to_string()).collect()
}

#[tokio::test]
async fn a_file_is_a_tenant_at_once_and_listed_after_a_look() {
    let mount = TempDir::new().unwrap();
    let directory = open(&mount).await;
    fs::write(mount.path().join("Cust1"), "App-1\n").unwrap();
    assert_eq!(found(&directory, "Cust1").await, Some(token("App-1")));
    assert_eq!(found(&directory, "CUST1").await, None, "another spelling is known after a look");
    assert_eq!(listed(&directory), [""; 0]);
    assert_eq!(directory.look().await.unwrap(), HashSet::from([named("Cust1")]));
    assert_eq!(found(&directory, "CUST1").await, Some(token("App-1")));
    assert_eq!(directory.find(named("cust1")).await.unwrap().unwrap().context_identifier.as_str(), "Cust1");
    assert_eq!(listed(&directory), ["Cust1"]);

    fs::remove_file(mount.path().join("Cust1")).unwrap();
    assert_eq!(found(&directory, "Cust1").await, None);
    assert_eq!(directory.look().await.unwrap(), HashSet::from([named("Cust1")]));
    assert_eq!(listed(&directory), [""; 0]);
    assert_eq!(directory.look().await.unwrap(), HashSet::new());
}

#[tokio::test]
async fn every_change_is_seen_once_even_one_that_leaves_size_and_modification_time_as_they_were() {
    let mount = TempDir::new().unwrap();
    let path = mount.path().join("Cust1");
    fs::write(&path, "App-0").unwrap();
    let directory = open(&mount).await;
    for number in 1..200 {
        let file = fs::OpenOptions::new().write(true).truncate(true).open(&path).unwrap();
        let modified = file.metadata().unwrap().modified().unwrap();
        fs::write(&path, format!("App-{:03}", number % 10)).unwrap();
        file.set_modified(modified).unwrap();
        assert_eq!(directory.look().await.unwrap(), HashSet::from([named("Cust1")]), "{number}");
        assert_eq!(directory.look().await.unwrap(), HashSet::new(), "{number}");
    }
}

#[tokio::test]
async fn a_kubernetes_mount_changes_by_a_swap_of_its_data_link() {
    let mount = TempDir::new().unwrap();
    let version = |name: &str, tenants: &[(&str, &str)]| {
        fs::create_dir(mount.path().join(name)).unwrap();
        for (tenant, content) in tenants {
            fs::write(mount.path().join(name).join(tenant), content).unwrap();
        }
    };
    let swap = |name: &str| {
        symlink(name, mount.path().join("..data_tmp")).unwrap();
        fs::rename(mount.path().join("..data_tmp"), mount.path().join("..data")).unwrap();
    };
    version("..2026_01", &[("Cust1", "App-1"), ("Cust2", "App-2")]);
    swap("..2026_01");
    for tenant in ["Cust1", "Cust2"] {
        symlink(format!("..data/{tenant}"), mount.path().join(tenant)).unwrap();
    }
    let directory = open(&mount).await;
    assert_eq!(listed(&directory), ["Cust1", "Cust2"]);
    assert_eq!(directory.look().await.unwrap(), HashSet::new());

    version("..2026_02", &[("Cust1", "App-1"), ("Cust2", "App-3"), ("Cust3", "App-4")]);
    swap("..2026_02");
    assert_eq!(found(&directory, "Cust2").await, Some(token("App-3")), "before any look");
    symlink("..data/Cust3", mount.path().join("Cust3")).unwrap();
    fs::remove_dir_all(mount.path().join("..2026_01")).unwrap();
    assert_eq!(directory.look().await.unwrap(), HashSet::from([named("Cust2"), named("Cust3")]));

    version("..2026_03", &[("Cust2", "App-3"), ("Cust3", "App-4")]);
    swap("..2026_03");
    assert_eq!(found(&directory, "Cust1").await, None, "its link dangles");
    assert_eq!(directory.look().await.unwrap(), HashSet::from([named("Cust1")]));
    assert_eq!(listed(&directory), ["Cust2", "Cust3"]);
}

#[tokio::test]
async fn what_is_no_tenants_file_is_left_out_and_said() {
    let mount = TempDir::new().unwrap();
    let put = |name: &str, content: &[u8]| fs::write(mount.path().join(name), content).unwrap();
    put("Fine", b"App-1");
    put("Empty", b"\n");
    put("Large", &[b'a'; 4097]);
    put("Long", &[b'a'; 513]);
    put("Latin1", b"Bl\xe5b\xe6r-1");
    put("Signed", b"App-1.202611220106.c2ln");
    put("Lines", b"App-1\nApp-2\n");
    put(".hidden", b"App-1");
    put("README.md", b"App-1");
    put("no name\n", b"App-1");
    fs::create_dir(mount.path().join("Folder")).unwrap();
    symlink(mount.path().join("nowhere"), mount.path().join("Dangling")).unwrap();
    symlink("Loop", mount.path().join("Loop")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, mount.path().join("Pipe"), rustix::fs::FileType::Fifo, 0o600.into(), 0)
        .unwrap();

    let directory = open(&mount).await;
    assert_eq!(listed(&directory), ["Fine"]);
    assert_eq!(problem(&directory, "Empty").await, TenantFileProblem::Token(crate::store::TokenProblem::Empty));
    assert_eq!(problem(&directory, "Large").await, TenantFileProblem::TooLarge);
    assert_eq!(problem(&directory, "Long").await, TenantFileProblem::Token(crate::store::TokenProblem::TooLong));
    assert_eq!(problem(&directory, "Latin1").await, TenantFileProblem::NotUtf8);
    assert_eq!(problem(&directory, "Signed").await, TenantFileProblem::Token(crate::store::TokenProblem::Dot));
    assert_eq!(
        problem(&directory, "Lines").await,
        TenantFileProblem::Token(crate::store::TokenProblem::ControlCharacter)
    );
    assert_eq!(problem(&directory, "Folder").await, TenantFileProblem::NotAFile);
    assert_eq!(problem(&directory, "Pipe").await, TenantFileProblem::NotAFile);
    assert!(matches!(problem(&directory, "Loop").await, TenantFileProblem::Unreadable(_)));
    assert_eq!(found(&directory, "Dangling").await, None);
    assert_eq!(found(&directory, "Hidden").await, None);
}

#[tokio::test]
async fn two_files_for_one_tenant_are_refused_until_one_is_gone() {
    let mount = TempDir::new().unwrap();
    fs::write(mount.path().join("Cust1"), "App-1").unwrap();
    let directory = open(&mount).await;
    fs::write(mount.path().join("cust1"), "App-2").unwrap();
    assert_eq!(directory.look().await.unwrap(), HashSet::new());
    let expected = TenantFileProblem::SameTenant { other: "cust1".to_owned() };
    assert_eq!(problem(&directory, "Cust1").await, expected);
    assert_eq!(problem(&directory, "cust1").await, expected);
    assert_eq!(listed(&directory), [""; 0]);
    fs::remove_file(mount.path().join("Cust1")).unwrap();
    assert_eq!(directory.look().await.unwrap(), HashSet::from([named("cust1")]));
    assert_eq!(found(&directory, "Cust1").await, Some(token("App-2")));
}

#[tokio::test]
async fn a_file_that_is_unusable_for_a_while_is_no_change() {
    let mount = TempDir::new().unwrap();
    let path = mount.path().join("Cust1");
    fs::write(&path, "App-1").unwrap();
    let directory = open(&mount).await;
    fs::write(&path, "").unwrap();
    assert_eq!(directory.look().await.unwrap(), HashSet::new());
    assert_eq!(listed(&directory), [""; 0]);
    problem(&directory, "Cust1").await;
    fs::write(&path, "App-1").unwrap();
    assert_eq!(directory.look().await.unwrap(), HashSet::new());
    assert_eq!(listed(&directory), ["Cust1"]);
    fs::write(&path, "App-2").unwrap();
    assert_eq!(directory.look().await.unwrap(), HashSet::from([named("Cust1")]));
}

#[tokio::test]
async fn a_directory_that_goes_away_takes_nothing_with_it() {
    let parent = TempDir::new().unwrap();
    let path = parent.path().join("mount");
    let missing = Directory::open(path.clone()).await.unwrap_err();
    assert!(matches!(missing, StoreError::TenantsDirectory { .. }), "{missing:?}");
    assert!(missing.to_string().contains("mount"), "{missing}");

    fs::create_dir(&path).unwrap();
    fs::write(path.join("Cust1"), "App-1").unwrap();
    fs::write(path.join("Cust2"), "").unwrap();
    let directory = Directory::open(path.clone()).await.unwrap();
    fs::rename(&path, parent.path().join("away")).unwrap();
    directory.look().await.unwrap_err();
    assert_eq!(found(&directory, "cust1").await, Some(token("App-1")));
    assert_eq!(listed(&directory), ["Cust1"]);
    problem(&directory, "Cust2").await;
    assert_eq!(found(&directory, "Cust3").await, None);

    fs::rename(parent.path().join("away"), &path).unwrap();
    assert_eq!(directory.look().await.unwrap(), HashSet::new());
}

#[tokio::test]
async fn a_file_where_a_directory_should_be_is_refused() {
    let mount = TempDir::new().unwrap();
    fs::write(mount.path().join("file"), "App-1").unwrap();
    let refusal = Directory::open(mount.path().join("file")).await.unwrap_err();
    assert!(matches!(refusal, StoreError::TenantsDirectory { .. }), "{refusal:?}");
}

#[tokio::test]
async fn no_output_of_the_directory_has_a_secret() {
    let mount = TempDir::new().unwrap();
    fs::write(mount.path().join("Cust1"), "canary-8k8Q7DmBgo").unwrap();
    fs::write(mount.path().join("Cust2"), "canary.8k8Q7DmBgo").unwrap();
    let directory = open(&mount).await;
    let shown = format!(
        "{directory:?} {:?} {:?}",
        directory.find(named("Cust1")).await.unwrap(),
        directory.find(named("Cust2")).await.unwrap_err(),
    );
    assert!(!shown.contains("canary"), "{shown}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_a_directory_holds_the_list_and_each_file_agree(
        files in proptest::collection::btree_map("[A-Ca-c1. ]{1,3}|[^/\0]{1,8}", proptest::collection::vec(any::<u8>(), 0..20), 0..8),
    ) {
        let mount = TempDir::new().unwrap();
        for (name, content) in &files {
            // Names like `.` cannot be made, longer ones in another encoding neither.
            drop(fs::write(mount.path().join(name), content));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let directory = open(&mount).await;
            let listed = directory.page(None, 100);
            for tenant in &listed {
                let found = directory.find(tenant.context_identifier).await.unwrap().unwrap();
                assert_eq!(found.system_user_token, tenant.system_user_token);
                let content = files.get(tenant.context_identifier.as_str()).unwrap();
                assert!(content.starts_with(tenant.system_user_token.expose().as_bytes()));
            }
            assert!(listed.is_sorted_by_key(|tenant| tenant.context_identifier));
            assert_eq!(directory.look().await.unwrap(), HashSet::new());
        });
    }
}
