//! Zones as files: what a host exports, and a file taken in at another, without any network.

use std::time::Duration;

use aop_proto::node::{Imported, Unfit};
use aop_proto::transfer::{Look, Opening, Reader};
use aop_proto::wire::message::Message;

use super::{HostId, World};

impl World {
    /// The zone as a running host holds it, whole or what is missing above an older file.
    pub fn export(&mut self, host: HostId, since: Option<&[u8]>) -> Vec<u8> {
        let since = since.map(|file| read(self, host, file).0.vector);
        let (now, node) = self.running(host);
        let export = node.export(now, since.as_deref()).expect("it is admitted");
        let file = export.flatten().collect::<Vec<u8>>();
        self.tell(format_args!("{} exports {} bytes", self.label(host), file.len()));
        file
    }

    /// Gives a running host a whole file, or only asks what would come of it, and lets time pass until that is durable.
    ///
    /// # Errors
    /// What the node said of all of it.
    pub fn import(&mut self, host: HostId, file: &[u8], trial: bool) -> Result<Imported, Unfit> {
        let (opening, messages) = read(self, host, file);
        let (now, node) = self.running(host);
        let begun = node.begin_import(now, &opening, trial);
        self.drain(host.0);
        begun?;
        for message in &messages {
            let (now, node) = self.running(host);
            node.import(now, message);
            self.drain(host.0);
        }
        self.next_token += 1;
        let token = self.next_token;
        let (now, node) = self.running(host);
        let sum = node.end_import(now, token);
        self.drain(host.0);
        self.tell(format_args!("{} imports: {sum:?}", self.label(host)));
        let done = self.run_until(Duration::from_secs(5), |world| world.written(host, token).is_some());
        assert!(done.is_some(), "an import becomes durable");
        Ok(sum)
    }
}

/// A file as a node reads it.
fn read(world: &World, host: HostId, mut file: &[u8]) -> (Opening, Vec<Message>) {
    let (mut reader, mut look, mut messages) = (Reader::default(), Look::new(Some(world.id(host))), Vec::new());
    while let Some(message) = reader.take(&mut file).expect("scenarios keep their files whole") {
        look.at(message.clone());
        messages.push(message);
    }
    reader.end().expect("scenarios keep their files whole");
    (look.found().expect("it begins"), messages)
}
