//! Clients' configurations: what the rules about them know a file by.

use crate::detect::ClientConfig;
use crate::discover::locations;

/// What the table of places says of a path.
#[must_use]
pub fn of_table(path: &str) -> Option<ClientConfig> {
    let location = locations::location_of(path)?;
    Some(ClientConfig {
        client: location.client.into(),
        project: locations::project_of(path, location).map(str::to_owned),
        only_servers: location.holds_only_servers(),
    })
}
