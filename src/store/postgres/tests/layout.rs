use futures_util::future::join_all;

use super::{Cluster, name_of, open_database, settings};
use crate::store::StoreError;
use crate::store::engine::ChangeLog;

#[tokio::test]
async fn many_processes_may_make_the_same_database_at_once() {
    let Some(cluster) = Cluster::shared() else { return };
    let url = cluster.create_database().await;
    let opening = (0..16).map(|_| {
        let settings = settings(&url);
        tokio::spawn(async move { open_database(&settings).await })
    });
    for database in join_all(opening).await {
        assert_eq!(database.unwrap().unwrap().revision().await.unwrap(), 0);
    }
}

#[tokio::test]
async fn a_newer_layout_is_used_while_it_says_that_this_version_can() {
    let Some(cluster) = Cluster::shared() else { return };
    let url = cluster.create_database().await;
    open_database(&settings(&url)).await.unwrap();
    let newer = |version: i64, compatible_from: i64| {
        let values = format!("VALUES ({version}, 'later', '\\x00', {compatible_from})");
        format!("INSERT INTO ticketd_layouts (version, description, checksum, compatible_from) {values}")
    };
    cluster.execute(name_of(&url), &newer(1007, 1)).await;
    let database = open_database(&settings(&url)).await.unwrap();
    assert_eq!(database.revision().await.unwrap(), 0);

    cluster.execute(name_of(&url), &newer(1008, 1007)).await;
    let refusal = open_database(&settings(&url)).await.unwrap_err();
    assert!(matches!(refusal, StoreError::IncompatibleLayout { version: 1008, .. }), "{refusal:?}");
    assert!(refusal.to_string().contains("newer ticketd"), "{refusal}");
    assert_eq!(database.revision().await.unwrap(), 0, "what runs goes on");
}

#[tokio::test]
async fn another_programs_tables_are_left_alone() {
    let Some(cluster) = Cluster::shared() else { return };
    let url = cluster.create_database().await;
    cluster.execute(name_of(&url), "CREATE TABLE tenants (house TEXT)").await;
    let refusal = open_database(&settings(&url)).await.unwrap_err();
    assert!(matches!(refusal, StoreError::Refused { .. }), "{refusal:?}");
    // Nothing is left of the attempt.
    cluster.execute(name_of(&url), "CREATE TABLE ticketd_layouts (house TEXT); SELECT house FROM tenants").await;
}

#[tokio::test]
async fn a_layout_that_no_release_made_is_refused() {
    let Some(cluster) = Cluster::shared() else { return };
    let url = cluster.create_database().await;
    open_database(&settings(&url)).await.unwrap();
    cluster.execute(name_of(&url), "UPDATE ticketd_layouts SET checksum = '\\x00' WHERE version = 1").await;
    let refusal = open_database(&settings(&url)).await.unwrap_err();
    assert!(matches!(refusal, StoreError::Refused { .. }), "{refusal:?}");
}

#[tokio::test]
async fn a_user_without_the_right_to_change_layouts_can_use_one_that_is_up_to_date() {
    let Some(cluster) = Cluster::shared() else { return };
    let url = cluster.create_database().await;
    let database = name_of(&url);
    let role = format!("user_of_{database}");
    cluster.execute(database, &format!("CREATE ROLE {role} LOGIN")).await;
    let as_user = settings(&url.replace("postgres@", &format!("{role}@")));
    let refusal = open_database(&as_user).await.unwrap_err();
    assert!(matches!(refusal, StoreError::Refused { .. }) && refusal.to_string().contains("42501"), "{refusal}");

    open_database(&settings(&url)).await.unwrap();
    let grant = format!("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}");
    cluster.execute(database, &grant).await;
    open_database(&as_user).await.unwrap().revision().await.unwrap();
}
