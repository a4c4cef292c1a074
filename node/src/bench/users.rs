//! The accounts a benchmark uses.

use super::args::UserArgs;

impl UserArgs {
    /// The address of user `number`, counted from 0.
    #[must_use]
    pub fn address(&self, number: usize) -> String {
        self.pattern.replacen("{}", &(number % self.count.max(1) + 1).to_string(), 1)
    }

    /// Users of client `client` of `clients`, so that no two clients share one.
    ///
    /// # Errors
    /// When there are fewer users than clients.
    pub fn of_client(&self, client: usize, clients: usize) -> anyhow::Result<Vec<String>> {
        anyhow::ensure!(
            self.count >= clients,
            "{} users are too few for {clients} clients: raise --user-count or lower --clients",
            self.count
        );
        Ok((client..self.count).step_by(clients.max(1)).map(|user| self.address(user)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_share_no_user() {
        let users = UserArgs { pattern: "u{}@x".into(), count: 5, password: String::new() };
        assert_eq!(users.of_client(0, 2).expect("enough"), ["u1@x", "u3@x", "u5@x"]);
        assert_eq!(users.of_client(1, 2).expect("enough"), ["u2@x", "u4@x"]);
        assert!(users.of_client(0, 6).is_err());
    }
}
