// @tus/server with its S3 store, as its documentation starts it. Arguments: port, endpoint, bucket, region; the
// credentials are in the environment.
import { S3Store } from "@tus/s3-store";
import { Server } from "@tus/server";

const [port, endpoint, bucket, region] = process.argv.slice(2);
const datastore = new S3Store({
  partSize: 8 * 1024 * 1024,
  s3ClientConfig: { endpoint, bucket, region, forcePathStyle: true },
});
new Server({ path: "/files", datastore }).listen({ host: "127.0.0.1", port: Number(port) });
