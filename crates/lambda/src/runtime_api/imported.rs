//! `POST /lambic/imported/<modules>`: a runtime client of ours says, when its function is initialized,
//! which of the modules that spares can have imported already it has imported from where a spare would.
//! Only on the stream that it inherited. It is believed, because it is the function's own matter.

use super::answer::{Answer, accepted};
use super::desk::Desk;

pub(super) fn post(desk: &Desk, modules: &str) -> Answer {
    desk.owner.imported(modules);
    accepted()
}

#[cfg(test)]
mod tests {
    use lambic_rt::TaskKind;

    use crate::runtime_api::connection;
    use crate::runtime_api::testing::Client;
    use crate::runtime_api::tests::Bench;

    #[tokio::test]
    async fn it_is_said_on_the_inherited_stream_and_accepted_as_a_response_is() {
        let bench = Bench::new();
        let says = "POST /lambic/imported/boto3,other";
        let refused = bench.connect().request(says, "", b"").await;
        assert_eq!((refused.status, refused.text()), (404, "404 page not found\n"));
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let served = connection::serve_inherited(Box::pin(theirs), bench.desk.clone());
        bench.rt.spawn("test connection", TaskKind::Request, served).detach();
        let mut client = Client::new(ours);
        let said = client.request(says, "", b"").await;
        assert_eq!((said.status, said.text()), (202, "{\"status\":\"OK\"}\n"));
        assert_eq!(bench.told.take(), ["imported boto3,other"]);
    }
}
