// The benchmark's handler behind a plain grpc-go server. It serves until it is killed, on a port that it prints.
package main

import (
	"context"
	"fmt"
	"log"
	"math"
	"math/bits"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"mortise.example/peer/pb"
)

type bench struct {
	pb.UnimplementedBenchServer
}

func (bench) Place(ctx context.Context, order *pb.Order) (*pb.Confirmation, error) {
	requestID := ""
	if sent, _ := metadata.FromIncomingContext(ctx); len(sent.Get("x-request-id")) > 0 {
		requestID = sent.Get("x-request-id")[0]
	}
	confirmation, err := place(order)
	if err != nil {
		return nil, err
	}
	if err := grpc.SetHeader(ctx, metadata.Pairs("x-request-id", requestID)); err != nil {
		return nil, err
	}
	if err := grpc.SetTrailer(ctx, metadata.Pairs("processing-time-ms", "0")); err != nil {
		return nil, err
	}
	return confirmation, nil
}

// What plugins/bench/src/place.rs does.
func place(order *pb.Order) (*pb.Confirmation, error) {
	if order.CustomerId == "" {
		return nil, status.Error(codes.InvalidArgument, "customer_id must not be empty")
	}
	total := uint64(0)
	for _, item := range order.Items {
		if item.Sku == "" || item.Quantity < 1 || item.Price < 0 {
			return nil, status.Error(codes.InvalidArgument, "items must have a sku, a quantity and a price")
		}
		high, sum := bits.Mul64(uint64(item.Price), uint64(item.Quantity))
		total += sum
		if high != 0 || sum > math.MaxInt64 || total > math.MaxInt64 {
			return nil, status.Error(codes.InvalidArgument, "the total is too large")
		}
	}
	if total == 0 {
		return nil, status.Error(codes.InvalidArgument, "the total must not be zero")
	}
	return &pb.Confirmation{
		Status:  "CONFIRMED",
		OrderId: fmt.Sprintf("ORD-%012X", checksum(order)),
		Total:   int64(total),
	}, nil
}

// FNV-1a over the texts of the order.
func checksum(order *pb.Order) uint64 {
	hash := uint64(0xcbf29ce484222325)
	add := func(text string) {
		for i := 0; i < len(text); i++ {
			hash = (hash ^ uint64(text[i])) * 0x100000001b3
		}
	}
	add(order.CustomerId)
	for _, item := range order.Items {
		add(item.Sku)
	}
	return hash & 0xffffffffffff
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer()
	pb.RegisterBenchServer(server, bench{})
	fmt.Println(listener.Addr())
	log.Fatal(server.Serve(listener))
}
