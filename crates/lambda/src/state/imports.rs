//! What versions of one function were seen to import: `function-imports/<account>/<region>/<name>`. It is
//! only learnt from running them and would be learnt again, so nothing depends on it but how fast the next
//! environment starts.

use lambic_store::Record;
use serde::{Deserialize, Serialize};

use super::version::Version;

/// What decides on what is imported. Other code is another matter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Code {
    /// Sha256 of the package.
    pub package: String,
    /// Digest of the layers, made one.
    pub layers: Option<String>,
    /// Such as `app.handler`.
    pub handler: Option<String>,
    /// Such as `python3.13`.
    pub runtime: String,
}

impl Code {
    /// That of a version.
    pub fn of(version: &Version) -> Code {
        let layers = version.layers_path.as_ref().and_then(|path| path.file_name());
        Code {
            package: version.bundle.clone(),
            layers: layers.map(|name| name.to_string_lossy().into_owned()),
            handler: version.handler.clone(),
            runtime: version.runtime.clone(),
        }
    }
}

/// The stored record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportsRecord {
    /// Versions (`$LATEST`, or a number) with the code that has imported AWS's SDK from the interpreter's
    /// own modules, the last one last.
    pub sdk: Vec<(String, Code)>,
}

impl Record for ImportsRecord {
    const KIND: &'static str = "function-imports";
    const VERSION: u32 = 1;

    fn upgrade(version: u32, _: serde_json::Value) -> Result<ImportsRecord, String> {
        Err(format!("there never was a version {version}"))
    }
}

#[cfg(test)]
mod tests {
    use lambic_rt::Rt;
    use lambic_store::{Store, Transaction};

    use super::*;

    #[tokio::test]
    async fn it_comes_back_as_it_was() {
        let store = Store::in_memory(Rt::real()).unwrap();
        let (layers, handler) = (Some("ab".to_owned()), Some("app.handler".to_owned()));
        let code = Code { package: "cd".into(), layers, handler, runtime: "python3.13".into() };
        let record = ImportsRecord { sdk: vec![("$LATEST".to_owned(), code)] };
        let key = ["000000000000", "us-east-1", "f"];
        let mut transaction = Transaction::new();
        transaction.put(&key, &record);
        store.commit(transaction).await.unwrap();
        let found = store.table::<ImportsRecord>().get(&key).await.unwrap();
        assert_eq!(found.map(|stored| stored.value), Some(record));
    }
}
