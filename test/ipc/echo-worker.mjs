// A worker that answers every frame with an empty reply, in plain JavaScript so that it can be forked.
import net from 'node:net';

net.createServer((socket) => {
  socket.on('data', (frame) => {
    frame.writeUInt16LE(1, 6);
    socket.write(frame);
  });
}).listen(process.argv[2]);
