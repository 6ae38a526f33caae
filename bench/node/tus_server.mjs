// @tus/server with its file store, as its documentation starts it. Arguments: port, folder.
import { FileStore } from "@tus/file-store";
import { Server } from "@tus/server";

const [port, folder] = process.argv.slice(2);
new Server({ path: "/files", datastore: new FileStore({ directory: folder }) }).listen({
  host: "127.0.0.1",
  port: Number(port),
});
