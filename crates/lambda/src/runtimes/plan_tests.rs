//! What an environment is made of: which variables win, which links are followed, where interpreters are.

use super::*;

#[test]
fn reserved_variables_win_over_own_and_own_over_defaults() {
    let all = merge(
        vec![pair("TZ", ":UTC"), pair("LANG", "x")],
        &[pair("TZ", "Europe/Berlin"), pair("_HANDLER", "mine"), pair("OWN", "1")],
        vec![pair("_HANDLER", "a.b")],
    );
    assert_eq!(
        all,
        [pair("TZ", "Europe/Berlin"), pair("LANG", "x"), pair("_HANDLER", "a.b"), pair("OWN", "1")]
    );
}

#[test]
fn links_are_not_followed_out_of_what_is_mounted() {
    let root = tempfile::tempdir().unwrap();
    let (opt, host) = (root.path().join("opt"), root.path().join("host"));
    for folder in [&opt, &host, &opt.join("real")] {
        fs::create_dir(folder).unwrap();
    }
    std::os::unix::fs::symlink("real", opt.join("inner")).unwrap();
    std::os::unix::fs::symlink("../host", opt.join("outer")).unwrap();
    assert!(within(&opt, "inner").is_some() && within(&opt, "real").is_some());
    assert!(within(&opt, "outer").is_none() && within(&opt, "absent").is_none());
}

#[test]
fn sessions_look_like_those_of_aws_and_differ() {
    let rt = Rt::simulated(3);
    let (one, two) = (fresh_session(&rt), fresh_session(&rt));
    assert_eq!((one.access_key_id.len(), &one.access_key_id[..4]), (20, "ASIA"));
    assert_eq!(one.secret_access_key.len(), 40);
    assert_ne!(one.access_key_id, two.access_key_id);
}

#[test]
fn interpreters_of_the_host_stay_where_they_are_and_others_go_to_var_lang() {
    let release = super::super::packs::Release { major: 3, minor: 13, patch: 0 };
    let pack = |executable: &str, prefix: &str| Pack {
        family: Family::Python,
        release,
        executable: executable.into(),
        prefix: prefix.into(),
        libraries: Vec::new(),
        features: Vec::new(),
        gems: None,
        archive: None,
    };
    assert_eq!(
        placed(&pack("/usr/bin/python3.11", "/usr")),
        ("/usr/bin/python3.11".to_owned(), vec![])
    );
    assert_eq!(
        placed(&pack("/home/u/v/3.13.0/bin/python3.13", "/home/u/v/3.13.0")),
        (
            "/var/lang/bin/python3.13".to_owned(),
            vec![("/home/u/v/3.13.0".into(), "/var/lang".to_owned())]
        )
    );
}
