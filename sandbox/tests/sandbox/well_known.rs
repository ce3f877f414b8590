use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use superoffice_sandbox::KeyRotation;

use crate::partner::{Scene, is_signed};

#[tokio::test]
async fn the_key_set_has_one_key_with_its_certificate() {
    let scene = Scene::new().await;
    let jwks = scene.jwks().await;
    let [key] = jwks["keys"].as_array().unwrap().as_slice() else { panic!("{jwks}") };
    let certificate = STANDARD.decode(key["x5c"][0].as_str().unwrap()).unwrap();
    let sha1 = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, &certificate);
    assert_eq!(URL_SAFE_NO_PAD.decode(key["x5t"].as_str().unwrap()).unwrap(), sha1.as_ref());
    let kid = key["kid"].as_str().unwrap();
    let bytes = (0..20).map(|index| u8::from_str_radix(&kid[2 * index..2 * index + 2], 16).unwrap());
    assert!(kid.len() == 40 && bytes.eq(sha1.as_ref().iter().copied()), "{kid}");
    assert_eq!((&key["kty"], &key["use"], &key["e"]), (&"RSA".into(), &"sig".into(), &"AQAB".into()));
}

#[tokio::test]
async fn discovery_names_an_issuer_without_a_path() {
    let scene = Scene::new().await;
    let document = scene.get("/Login/.well-known/openid-configuration").await.json;
    let base = scene.sandbox.base_url();
    assert_eq!(document["issuer"], base);
    assert_eq!(document["jwks_uri"], format!("{base}/login/.well-known/jwks"));
    assert_eq!(document["token_endpoint"], format!("{base}/login/common/oauth/tokens"));
}

#[tokio::test]
async fn keys_rotate_with_overlap_without_and_unpublished() {
    let scene = Scene::new().await;
    let old_set = scene.jwks().await;
    let old_jwt = scene.jwt().await;

    scene.sandbox.rotate_keys(KeyRotation::Overlap);
    let (jwks, jwt) = (scene.jwks().await, scene.jwt().await);
    assert!(is_signed(&jwt, &jwks) && is_signed(&old_jwt, &jwks) && !is_signed(&jwt, &old_set));

    scene.sandbox.rotate_keys(KeyRotation::NoOverlap);
    let (jwks, back) = (scene.jwks().await, scene.jwt().await);
    assert!(is_signed(&back, &jwks) && !is_signed(&jwt, &jwks));

    scene.sandbox.rotate_keys(KeyRotation::Unpublished);
    let (jwks, jwt) = (scene.jwks().await, scene.jwt().await);
    assert!(!is_signed(&jwt, &jwks) && is_signed(&back, &jwks));
}
